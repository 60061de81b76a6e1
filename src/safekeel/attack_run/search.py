"""The searches of an attack run: which, with what attacker and budget, and their files in the folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safekeel.artifact import atomic_write_json
from safekeel.attack_run.search_options import with_options
from safekeel.attacks.base import WORDINGS, AttackFamily, Wording
from safekeel.attacks.search import SEARCHES
from safekeel.attacks.search.artifact import write_artifacts
from safekeel.attacks.search.base import Strategy, user
from safekeel.attacks.search.driver import CALLS, QUERIES, SearchResult, search
from safekeel.attacks.search.log import Calls, GoalOutcome, QueryRow, failed_calls, forget_failures
from safekeel.attacks.search.settings import SearchConfig
from safekeel.attacks.search.suffix_log import SUFFIXES
from safekeel.engines import open_engine
from safekeel.engines.base import Engine, Sampling
from safekeel.errors import DataError, EngineError, SafeKeelError, UsageError
from safekeel.judges.base import Judge
from safekeel.progress import Progress
from safekeel.records import Completion, Prompt, read_jsonl, write_jsonl

OUTCOMES, SEARCHED = "outcomes.jsonl", "searches.json"
CHECK = "attacker-check"
"""Prompt id of the one call that shows whether the attacker can be asked at all."""
_HELLO = "Reply with the single word: ready"
DEFAULT_BUDGET = SearchConfig().budget


@dataclass(frozen=True)
class SearchRequest:
    """Which strategies, at which budget of target calls per goal, with which attacker model."""

    names: tuple[str, ...] = ()
    budget: int = DEFAULT_BUDGET
    attacker: str | None = None
    attacker_base_urls: tuple[str, ...] = ()
    attacker_api_key_env: str | None = None
    concurrency: int | None = None
    batch_size: int | None = None
    seed: int = 0
    timeout: float | None = None
    options: tuple[str, ...] = ()
    """`STRATEGY.PARAMETER=VALUE` (`search_options`)."""

    def strategies(self, target: str) -> tuple[Strategy, ...]:
        """The strategies named, with their options.

        Args:
            target: the model under attack, as the user names it.

        Raises:
            UsageError: no such strategy or parameter (the nearest is offered), a strategy that needs an attacker or the
                target's weights and there are none, or options without use.
        """
        named = [SEARCHES.get(name) for name in dict.fromkeys(self.names)]
        found = with_options(named, self.options)
        self._check(found)
        if white_box := [each.name for each in found if each.forward_passes and not target.startswith("hf:")]:
            raise UsageError(
                f"--search {','.join(white_box)}: it needs the target's weights; name MODEL as hf:PATH, or use a "
                "strategy that only asks, such as bandit."
            )
        return found

    def _check(self, strategies: Sequence[Strategy]) -> None:
        if needy := [strategy.name for strategy in strategies if strategy.needs_attacker and self.attacker is None]:
            raise UsageError(
                f"--search {','.join(needy)}: it needs an attacker model: --attacker api:NAME with --attacker-base-url "
                "URL, or --attacker hf:PATH; or use a strategy without one, such as bandit."
            )
        if self.attacker is not None and not strategies:
            raise UsageError(f"--attacker {self.attacker}: only --search asks an attacker; name a strategy.")
        if self.attacker_base_urls and not (self.attacker or "").startswith("api:"):
            raise UsageError(
                "--attacker-base-url: an endpoint serves an api: attacker; name it with --attacker api:NAME."
            )

    def open_attacker(self, strategies: Sequence[Strategy]) -> Engine | None:
        """The attacker's engine, or None where none is named.

        Raises:
            UsageError, EngineError, DataError: it cannot be used.
        """
        if self.attacker is None or not strategies:
            return None
        options: dict[str, Any] = {}
        if self.attacker.startswith("api:"):
            options = {"base_urls": self.attacker_base_urls or None, "api_key_env": self.attacker_api_key_env}
            options |= {"concurrency": self.concurrency, "timeout": self.timeout}
        elif self.attacker.startswith("hf:"):
            options = {"batch_size": self.batch_size}
        try:
            return open_engine(self.attacker, **{name: value for name, value in options.items() if value is not None})
        except SafeKeelError as error:
            raise _about_attacker(self.attacker, error) from error

    def config(self, sampling: Sampling, wording: Wording) -> SearchConfig:
        """The driver's settings. Wordings are those that the goals' split may use: an attacker of test goals has all of
        them, one whose finds are trained on has no held-out one."""
        allowed = WORDINGS[: WORDINGS.index(wording) + 1]
        one = sampling.model_copy(update={"num_samples": 1})
        return SearchConfig(budget=self.budget, seed=self.seed, wordings=allowed, sampling=one)

    def identity(self) -> dict[str, Any]:
        """What decides the result, as plain JSON data."""
        return {
            "names": list(self.names),
            "budget": self.budget,
            "attacker": self.attacker,
            "attacker_base_urls": list(self.attacker_base_urls),
            "seed": self.seed,
            **({"options": list(self.options)} if self.options else {}),
        }


def run_searches(
    strategies: Sequence[Strategy],
    goals: Sequence[Prompt],
    target: Engine,
    judge: Judge,
    config: SearchConfig,
    folder: Path,
    *,
    families: Sequence[AttackFamily],
    attacker: Engine | None,
    progress: Progress | None,
) -> list[Path]:
    """Run one strategy after the other, each over the goals whose language it speaks; returns the files written.

    Raises:
        DataError: a strategy speaks none of the goals' languages.
        EngineError: target, attacker or judge gave up, or the attacker answered nothing at all; the same call
            continues.
    """
    outcomes: list[GoalOutcome] = []
    rows: list[QueryRow] = []
    counts: dict[str, Any] = {}
    for strategy in strategies:
        spoken = [goal for goal in goals if goal.lang in strategy.languages]
        if not spoken:
            spoken_here = ", ".join(sorted({goal.lang for goal in goals}))
            raise DataError(
                f"--search {strategy.name} speaks {', '.join(strategy.languages)}; the goals {spoken_here}."
            )
        found = search(
            strategy, spoken, target, judge, config, folder, families=families, attacker=attacker, progress=progress
        )
        if attacker is not None:
            _require_attacker(found, attacker, folder)
        outcomes += found.outcomes
        counts[strategy.name] = {**found.counts, "skipped_language": len(goals) - len(spoken)}
        rows += found.rows
    write_jsonl(folder / OUTCOMES, outcomes)
    atomic_write_json(folder / SEARCHED, counts)
    written = (CALLS, QUERIES, SUFFIXES, OUTCOMES, SEARCHED)
    artifacts = write_artifacts(folder, rows, {"budget": config.budget, "seed": config.seed})
    return [*(folder / name for name in written if (folder / name).exists()), *artifacts]


def check_attacker(attacker: Engine, folder: Path) -> None:
    """Ask the attacker for one word, before the target is asked anything: a wrong address, key or name would else be
    found after the whole pack, and the search would go on without it. Asked once per folder (`calls.jsonl`).

    Raises:
        EngineError: it cannot be reached, or it gives no answer.
    """
    hello = Prompt(
        id=CHECK, messages=(user(_HELLO),), lang="en", risk=None, expect="answer", target=None, source="own", licence=""
    )
    try:
        [reply] = Calls(folder / CALLS).ask(attacker, [hello], Sampling(max_tokens=16), [0])
    except EngineError as error:
        raise _about_attacker(attacker.name, error) from error
    if reply.finish == "error":
        forget_failures(folder / CALLS)
        raise EngineError(
            f"--attacker {attacker.name}: it does not answer ({reply.error}). Nothing was asked of the target. Put it "
            "right and run the same command again."
        )


def _about_attacker(name: str, error: SafeKeelError) -> SafeKeelError:
    """The same error, said of the attacker: an engine knows the target's options only."""
    own = (
        " Of an attacker, the options are --attacker-base-url and --attacker-api-key-env." if "--" in str(error) else ""
    )
    return type(error)(f"--attacker {name}: {error}{own}")


def _require_attacker(found: SearchResult, attacker: Engine, folder: Path) -> None:
    """
    Raises:
        EngineError: the attacker answered none of this search's calls, which is no search. What refuses or cannot be
            read is an answer: it is counted and shown.
    """
    calls, failures = found.counts["attacker_calls"], found.counts["attacker_failures"]
    path = folder / CALLS
    if not calls or failures < calls or any(_is_answer(row, found, attacker) for row in read_jsonl(path, Completion)):
        return
    reasons = [row.error or "" for row in failed_calls(path)]
    most = f"; most often: {max(reasons, key=reasons.count)}" if reasons else ""
    forget_failures(path)
    raise EngineError(
        f"--search {found.strategy}: the attacker {attacker.name} answered none of its {calls} calls{most}. Without it "
        "the search only repeats the plain goals, which says nothing about the target. Put it right and run the same "
        "command again: what was answered is not asked again."
    )


def _is_answer(row: Completion, found: SearchResult, attacker: Engine) -> bool:
    is_attackers = row.prompt_id.startswith(f"{found.strategy}/") and "/attacker/" in row.prompt_id
    return is_attackers and row.model == attacker.name and row.finish != "error"
