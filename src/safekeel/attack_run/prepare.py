"""What a user asks for, checked: the pack, the sampling, the searches and the plan, before any model is opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safekeel.artifact import MANIFEST
from safekeel.attack_run.cost import Plan, plan
from safekeel.attack_run.goals import NANO, GoalRequest, Goals, load_goals
from safekeel.attack_run.pack import ABOUT, DIRECT, Pack, build_pack, read_pack
from safekeel.attack_run.search import SearchRequest
from safekeel.attacks import ATTACKS, AttackFamily, resolve
from safekeel.attacks.base import WORDINGS, Wording
from safekeel.attacks.search.base import Strategy
from safekeel.bench.base import BenchmarkBase
from safekeel.bench.command import EvalRequest, sampling_of
from safekeel.engines.base import Sampling
from safekeel.errors import DataError, UsageError
from safekeel.report.evidence import read_evaluation

Say = Callable[[str], None]


@dataclass(frozen=True)
class AttackRequest:
    """What is asked: the model and the judge as of an evaluation, goals and families or a frozen pack, and searches."""

    target: EvalRequest
    goals: GoalRequest | None = None
    families: tuple[str, ...] = ("all",)
    """Names of families and subsets; of a pack, its own count."""
    wording: Wording | None = None
    """None = the wording of the goals' split in the nano world, else `test`."""
    pack: Path | None = None
    pack_sha256: str | None = None
    search: SearchRequest = field(default_factory=SearchRequest)
    base: tuple[Path, ...] = ()
    transfer: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Prepared:
    """Everything that is decided before a model is asked."""

    pack: Pack
    sampling: Sampling
    families: tuple[AttackFamily, ...]
    strategies: tuple[Strategy, ...]
    wording: Wording
    plan: Plan


def prepare(request: AttackRequest, say: Say) -> Prepared:
    """The pack, the sampling and the plan; nothing is written and no model is opened.

    Raises:
        UsageError: an unknown family, subset, strategy, goal source or split (the nearest is offered), or options that
            exclude each other.
        DataError: goals or pack are missing, malformed or empty, or the pack is not the one that was named.
    """
    for folder in (*request.base, *request.transfer):
        require_attack(folder)  # before hours of work, not after
    strategies = request.search.strategies(request.target.model)
    pack, families, wording = _frozen(request, say) if request.pack is not None else _built(request, say)
    if strategies and not pack.goals:
        raise DataError(f"{request.pack}: it has no undisguised goals ({DIRECT}), which --search begins from.")
    budget = request.target.max_tokens or int(pack.about.get("max_tokens") or BenchmarkBase.max_tokens)
    sampling = sampling_of(request.target, budget, say)
    has_attacker = request.search.attacker is not None
    found = plan(pack, sampling, request.target.judge.name, strategies, request.search.budget, has_attacker)
    return Prepared(pack, sampling, families, strategies, wording, found)


def require_attack(folder: Path) -> None:
    """Check that a folder holds a finished attack, or an evaluation of a pack.

    Raises:
        DataError: it does not.
    """
    if not (folder / MANIFEST).exists():
        raise DataError(
            f"{folder} holds no finished attack: expected a folder written by `safekeel attack`. Correct the path, or "
            "run that attack to its end first."
        )
    read_evaluation(folder)


def _frozen(request: AttackRequest, say: Say) -> tuple[Pack, tuple[AttackFamily, ...], Wording]:
    assert request.pack is not None
    pack = read_pack(request.pack, request.pack_sha256)
    if not pack.about.get("max_tokens") and request.target.max_tokens is None:
        say(
            f"{request.pack} does not say how many tokens an answer may have (a pack's {ABOUT} does, beside it): "
            f"{BenchmarkBase.max_tokens} are used. To compare with what was measured on it, give its --max-tokens."
        )
    stated = pack.about.get("wording")
    known = ATTACKS.names()
    wording: Wording = stated if stated in WORDINGS else "test"
    return pack, tuple(ATTACKS.get(name) for name in pack.families if name in known), wording


def _built(request: AttackRequest, say: Say) -> tuple[Pack, tuple[AttackFamily, ...], Wording]:
    if request.goals is None:
        raise UsageError(
            f"nothing to attack with: --goals NAME_OR_FILE (such as {NANO}, starter, harmbench or goals.txt), or "
            "--pack FILE for a frozen pack."
        )
    families = tuple(resolve(request.families))
    if not families:
        raise UsageError("--family names nothing; expected families or subsets, such as all (safekeel attack --list).")
    goals = load_goals(request.goals)
    wording = request.wording or _wording_of(request.goals)
    pack = build_pack(goals.prompts, families, wording, request.target.seed)
    about = {**pack.about, "max_tokens": goals.max_tokens, "goals": _described(request.goals, goals)}
    if goals.dropped:
        say(f"goals left out: {', '.join(f'{reason} {count}' for reason, count in goals.dropped.items() if count)}")
    return Pack(pack.prompts, about), families, wording


def _wording_of(goals: GoalRequest) -> Wording:
    """Training goals come in the training wording, so that no test wording ever reaches a training corpus."""
    if goals.spec == NANO:
        return next((wording for wording in WORDINGS if wording == goals.split_name), "test")
    return "test"


def _described(request: GoalRequest, goals: Goals) -> dict[str, Any]:
    named = {"split": goals.split, "lang": request.lang, "limit": request.limit}
    return {"source": request.spec, **named, "num": len(goals.prompts), "dropped": goals.dropped}
