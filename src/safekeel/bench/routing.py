"""Which judge reads an item: an exact grader where the item has a known answer, else the judge that was asked for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from safekeel.errors import DataError, shown
from safekeel.judges.base import Judge, JudgeCard
from safekeel.judges.nano import NanoJudge
from safekeel.nano.words import load_words
from safekeel.records import Completion, LabelSource, Prompt, Verdict

NANO, OPTIONS, LM_EVAL = "nano", "options", "lm-eval"
SAFETY = ""
"""The route of items that no grader can read."""


def route(prompt: Prompt) -> str:
    """The grader of an item by its `meta`: the nano world's grammar, a named one, or `SAFETY`."""
    if prompt.meta.get("world") == NANO:
        return NANO
    if grader := prompt.meta.get("grader"):
        return str(grader)
    return OPTIONS if prompt.expect == "choose" and prompt.meta.get("options") else SAFETY


def judge_for(prompts: Sequence[Prompt], open_safety: Callable[[], Judge], test_words: Path | None) -> Judge:
    """The judge of an evaluation: the only one needed, or one that distributes.

    Args:
        open_safety: opens the judge that was asked for; not called where every item has a grader.

    Raises:
        DataError: an item names a grader that does not exist.
    """
    routes = list(dict.fromkeys(route(prompt) for prompt in prompts))
    members = {name: open_safety() if name == SAFETY else open_grader(name, test_words) for name in routes}
    return next(iter(members.values())) if len(members) == 1 else RoutedJudge(members)


def open_grader(name: str, test_words: Path | None) -> Judge:
    """A grader by the name in an item's `meta`.

    Raises:
        DataError: there is none of that name.
    """
    if name == NANO:
        return NanoJudge(load_words(test_words))
    if name == OPTIONS:
        from safekeel.judges.options import OptionsJudge

        return OptionsJudge()
    if name.startswith(f"{LM_EVAL}:"):
        from safekeel.bench.capability.grader import LmEvalGrader

        return LmEvalGrader(name.removeprefix(f"{LM_EVAL}:"))
    raise DataError(f"an item names the grader {shown(name)}; expected {OPTIONS!r} or '{LM_EVAL}:TASK'.")


class RoutedJudge:
    """Hands every item to the member that its route names, and keeps the members' names in the verdicts."""

    label_source: LabelSource | None = None
    card: JudgeCard | None = None

    def __init__(self, by_route: dict[str, Judge]) -> None:
        self.by_route = by_route
        self.members = {judge.name: judge for judge in by_route.values()}
        self.name = "+".join(sorted(self.members))
        self.version = "+".join(sorted(judge.version for judge in by_route.values()))

    def judge(self, prompt: Prompt, completion: Completion) -> list[Verdict]:
        """See `Judge.judge`."""
        return self.by_route[route(prompt)].judge(prompt, completion)

    def judge_many(self, items: Sequence[tuple[Prompt, Completion]]) -> list[list[Verdict]]:
        """See `Judge.judge_many`; each member gets its items in one batch."""
        places: dict[str, list[int]] = defaultdict(list)
        for place, (prompt, _) in enumerate(items):
            places[route(prompt)].append(place)
        found: dict[int, list[Verdict]] = {}
        for name, chosen in places.items():
            found |= zip(chosen, self.by_route[name].judge_many([items[place] for place in chosen]), strict=True)
        return [found[place] for place in range(len(items))]
