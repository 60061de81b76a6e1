"""Judges by the name a user gives.

rules                         refusal cues                          no model
linear                        the embedded classifier               no model
api:NAME  vllm:ID  hf:PATH    a model; a guard is recognised by its name, any other model gets the rubrics
llm:api:NAME                  the rubrics, whatever the model's name
guard:api:NAME                a guard, by its name;  guard:qwen3guard:api:NAME  whatever its name
vote:A,B,C                    what more than half of them say
cascade:rules,linear,api:NAME the next one sees only what the earlier ones cannot tell
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safekeel.engines import ENGINES, open_engine
from safekeel.engines.base import Engine
from safekeel.errors import UsageError, nearest
from safekeel.judges.base import Judge, JudgeCard, read_card
from safekeel.judges.guard import GuardJudge
from safekeel.judges.guard_families import FAMILIES, GuardFamily, family_of, find_family
from safekeel.judges.llm import LlmJudge
from safekeel.judges.panel import Cascade, Vote
from safekeel.judges.rules import RulesJudge

EMBEDDED = ("rules", "linear")
PANELS: dict[str, type[Vote] | type[Cascade]] = {"vote": Vote, "cascade": Cascade}
KINDS = ("llm", "guard", *PANELS)
_REMOTE = "api"


@dataclass(frozen=True)
class _Reach:
    """How models behind an endpoint are reached."""

    base_urls: Sequence[str]
    api_key_env: str | None
    concurrency: int | None
    opened: dict[str, Engine] = field(default_factory=dict)

    def engine(self, model: str) -> Engine:
        """The engine of a model; the same one where two judges of a panel ask it."""
        if model not in self.opened:
            options: dict[str, Any] = {}
            if model.startswith(f"{_REMOTE}:"):
                if not self.base_urls:
                    raise UsageError(f"--judge {model}: it needs its server: --judge-base-url URL.")
                options = {"base_urls": self.base_urls, "api_key_env": self.api_key_env}
                options |= {"concurrency": self.concurrency} if self.concurrency else {}
            self.opened[model] = open_engine(model, **options)
        return self.opened[model]


def open_judge(
    spec: str,
    *,
    base_urls: Sequence[str] = (),
    api_key_env: str | None = None,
    concurrency: int | None = None,
    card: Path | None = None,
    answer_rubric: str = "chisafetybench",
    second: str | None = None,
) -> Judge:
    """The judge called `spec` (the table above).

    Args:
        base_urls: of the endpoints behind `api:` models.
        concurrency: requests in flight; None = the engine's default.
        card: measured on this very judge; without one, a judge has the card that ships for its version, or none.
        answer_rubric: of language models: `chisafetybench` or `strongreject`.
        second: model that a language model hands over to where its own reply cannot be read.

    Raises:
        UsageError: no such judge, or an option that it has no use for.
        EngineError: its model cannot be used.
        DataError: its model's files, or the card, are malformed.
    """
    reach = _Reach(base_urls, api_key_env, concurrency)
    parts = _members(spec)
    if base_urls and not any(f"{_REMOTE}:" in part for part in parts):
        raise UsageError(f"--judge {spec}: it asks no endpoint, so --judge-base-url has no use; name api:MODEL.")
    if second is not None and not any(_is_llm(part) for part in parts):
        raise UsageError(f"--judge {spec}: only a language model hands over to a second judge.")
    kind = spec.partition(":")[0]
    members = [_open(part, reach, answer_rubric, second) for part in parts]
    judge: Judge = PANELS[kind](members) if kind in PANELS else members[0]
    if card is not None:
        judge.card = _fitting(read_card(card), judge, card)
    return judge


def check_name(spec: str) -> None:
    """Refuse a name that no judge can have, before anything is opened: items with a grader of their own open none.

    Raises:
        UsageError: no such judge.
    """
    for part in _members(spec):
        kind, _, rest = part.partition(":")
        if part not in EMBEDDED and not (rest and kind in ("llm", "guard", *ENGINES.names())):
            raise _unknown(part)


def notice(spec: str) -> str | None:
    """One line about what a name was taken for, where a user may have meant something else; None otherwise."""
    found = []
    for part in _members(spec):
        scheme, _, model = part.partition(":")
        if scheme in ENGINES.names() and (family := family_of(model)):
            found.append(
                f"{part} is asked as a guard ({family.name}; {family.languages}); llm:{part} would ask it as a "
                "language model"
            )
    return "; ".join(found) or None


def _members(spec: str) -> list[str]:
    kind, _, rest = spec.partition(":")
    if kind not in PANELS:
        return [spec]
    parts = [part.strip() for part in rest.split(",")]
    if len(parts) < 2 or not all(parts):
        raise UsageError(f"--judge {spec}: expected two or more judges, such as {kind}:rules,linear.")
    if nested := next((part for part in parts if part.partition(":")[0] in PANELS), None):
        raise UsageError(f"--judge {spec}: {nested} is a panel in a panel; expected single judges.")
    return parts


def _is_llm(spec: str) -> bool:
    kind, _, rest = spec.partition(":")
    return kind == "llm" or (kind in ENGINES.names() and family_of(rest) is None)


def _open(spec: str, reach: _Reach, answer_rubric: str, second: str | None) -> Judge:
    if spec == "rules":
        return RulesJudge()
    if spec == "linear":
        from safekeel.judges.linear import LinearJudge

        return LinearJudge()
    kind, _, rest = spec.partition(":")
    if kind == "guard" and rest:
        family, model = _guard(spec, rest)
        return GuardJudge(reach.engine(model), family)
    model = rest if kind == "llm" else spec
    if not rest or kind not in ("llm", *ENGINES.names()):
        raise _unknown(spec)
    if kind != "llm" and (guard := family_of(rest)):
        return GuardJudge(reach.engine(model), guard)
    return LlmJudge(reach.engine(model), answer_rubric, second=reach.engine(second) if second else None)


def _guard(spec: str, rest: str) -> tuple[GuardFamily, str]:
    """Family and model of `guard:[FAMILY:]MODEL`."""
    first, _, model = rest.partition(":")
    if first not in ENGINES.names():
        if not model:
            raise UsageError(f"--judge {spec}: expected guard:MODEL, such as guard:api:Qwen3Guard-Gen-8B.")
        return find_family(first), model
    family = family_of(model)
    if family is None:
        raise UsageError(
            f"--judge {spec}: no guard family is known by this name. Known: {', '.join(FAMILIES)}. If it is one of "
            f"these, name it: guard:{next(iter(FAMILIES))}:{rest}; for any other model use llm:{rest}."
        )
    return family, rest


def _unknown(spec: str) -> UsageError:
    kind = spec.partition(":")[0]
    known = [*EMBEDDED, *(f"{scheme}:MODEL" for scheme in ENGINES.names()), *(f"{name}:…" for name in KINDS)]
    hint = nearest(kind, [*EMBEDDED, *ENGINES.names(), *KINDS])
    return UsageError(f"--judge {spec!r}: unknown.{hint} Known: {', '.join(known)}.")


def _fitting(card: JudgeCard, judge: Judge, path: Path) -> JudgeCard:
    if (card.judge, card.judge_version) != (judge.name, judge.version):
        raise UsageError(
            f"{path} is the card of {card.judge} {card.judge_version}, and the judge is {judge.name} {judge.version}: "
            "a card says nothing about another judge or version. Make one with `safekeel judge calibrate`."
        )
    return card
