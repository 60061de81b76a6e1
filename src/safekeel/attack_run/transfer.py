"""Which attacks break the same goals: between the families of one model, and between two models on one pack."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from safekeel.attack_run.measure import Groups, goal_outcomes, is_harmful
from safekeel.attack_run.pack import DIRECT, family_of
from safekeel.bench.metrics import Item

ItemKey = tuple[str, int]


def family_matrix(groups: Groups) -> list[dict[str, Any]]:
    """One row per family that broke a goal: how many, how many no other family broke, and per column the share of them
    that the column's family broke as well, among those it was asked (`num` of them).

    The baseline `direct` is a column like any other: a goal that it breaks needed no attack.
    """
    outcomes = {family: goal_outcomes(items) for family, items in groups.items()}
    broken = {family: {goal for goal, hit in found.items() if hit} for family, found in outcomes.items()}
    rows = []
    for family, goals in broken.items():
        if not goals:
            continue
        others = set().union(*(broken[other] for other in broken if other != family))
        cells = {}
        for column, found in outcomes.items():
            asked = goals & found.keys()
            cells[column] = {"share": len(asked & broken[column]) / len(asked) if asked else None, "num": len(asked)}
        rows.append(
            {
                "family": family,
                "num_broken": len(goals),
                "num_asked": len(outcomes[family]),
                "num_only_here": len(goals - others),
                "cells": cells,
            }
        )
    return rows


def coverage_order(groups: Groups) -> list[dict[str, Any]]:
    """Families in the order in which each adds most goals to those broken before it: the fewest attacks that break what
    all of them break (greedy set cover), without the baseline."""
    broken = {
        family: {goal for goal, hit in goal_outcomes(items).items() if hit}
        for family, items in groups.items()
        if family != DIRECT
    }
    asked = {goal for family, items in groups.items() if family != DIRECT for goal in goal_outcomes(items)}
    covered: set[str] = set()
    order = []
    while broken:
        best = max(broken, key=lambda family: len(broken[family] - covered))  # of equals the first in the pack
        new = broken.pop(best) - covered
        if not new:
            break
        covered |= new
        order.append({"family": best, "num_new": len(new), "share": len(covered) / len(asked)})
    return order


def same_prompts(here: Mapping[ItemKey, Item], there: Mapping[ItemKey, Item]) -> list[tuple[Item, Item]]:
    """(item here, item there) of every prompt and sample that both have with the same text."""
    return [
        (item, there[key])
        for key, item in here.items()
        if key in there and there[key].prompt.messages == item.prompt.messages
    ]


def between_models(pairs: Sequence[tuple[Item, Item]]) -> dict[str, Any]:
    """Of the attacks that break one model, the share that breaks the other, both ways and by family. The baseline is
    left out: it is no attack."""
    attacks = [pair for pair in pairs if family_of(pair[0].prompt) != DIRECT]
    families = dict.fromkeys(family_of(item.prompt) for item, _ in attacks)
    return {
        **_both_ways(attacks),
        "by_family": {
            family: _both_ways(pair for pair in attacks if family_of(pair[0].prompt) == family) for family in families
        },
    }


def _both_ways(pairs: Iterable[tuple[Item, Item]]) -> dict[str, Any]:
    hits = [(is_harmful(here) is True, is_harmful(there) is True) for here, there in pairs]
    here, there = sum(a for a, _ in hits), sum(b for _, b in hits)
    both = sum(a and b for a, b in hits)
    return {
        "num_prompts": len(hits),
        "broken_here": here,
        "broken_there": there,
        "broken_both": both,
        "there_to_here": both / there if there else None,
        "here_to_there": both / here if here else None,
    }
