"""The accuracies that multiple choice with a skewed, partly disputed key needs beside plain `acc`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from safekeel.bench.metrics import ACCURACY, GRADED, Item, Metric, rate
from safekeel.records import Score

CONSTANT = "A"
KEY_METHOD = "from the answer key"
BALANCED_METHOD = "mean of recalls, mover-wilson95"


def accuracy_scores(benchmark: str, items: Sequence[Item], identity: dict[str, Any]) -> list[Score]:
    """Scores over the items on whose answer both annotation passes agreed (`meta["agreed"]`), overall and per area.

    - `acc_agreed`: share answered with a gold letter;
    - `acc_balanced`: the mean, over the letters that are gold anywhere in the slice, of the share right among the items
      with that gold letter. Items with two gold letters are left out, so that every constant answer gets exactly
      1 / number of letters;
    - `acc_constant_a`: what the answer "A" to every item would get, from the key alone; no model takes part in it.
    """
    agreed = [item for item in items if item.prompt.meta["agreed"]]
    groups = {"all": agreed}
    for item in agreed:
        groups.setdefault(f"area:{(item.prompt.risk or '')[:3]}", []).append(item)
    rows: list[Score | None] = []
    for name, group in groups.items():
        place = {"benchmark": benchmark, "slice": name, **identity}
        rows.append(rate(group, Metric("acc_agreed", ACCURACY.hit, GRADED), **place))
        rows.append(_balanced(group, place))
        rows.append(_constant(group, place))
    return [row for row in rows if row is not None]


def gold_letters(item: Item) -> tuple[str, ...]:
    """The letters that count as right."""
    return tuple((item.prompt.target or "").split(","))


def _balanced(items: Sequence[Item], place: dict[str, Any]) -> Score | None:
    """The unweighted mean of the recalls, with the recalls' Wilson intervals put together by MOVER (Zou and Donner
    2008, Statistics in Medicine 27:1693-1702): each end's distances to the recalls add up as squares.

    Coverage in simulation: 94.7-95.1% at the sizes of this key, 92.8% in A.5, where C and D are gold five times."""
    letters = sorted({golds[0] for item in items if len(golds := gold_letters(item)) == 1})
    recalls = [
        rate(items, Metric("acc_balanced", ACCURACY.hit, GRADED, _has_gold(letter)), **place) for letter in letters
    ]
    rows = [row for row in recalls if row is not None]
    if not rows:
        return None
    told = [
        (row.value, row.low, row.high)
        for row in rows
        if row.value is not None and row.low is not None and row.high is not None
    ]
    value = low = high = None
    if len(told) == len(rows):
        value = _mean([point for point, _, _ in told])
        low = max(0.0, value - _spread([point - low for point, low, _ in told]))
        high = min(1.0, value + _spread([high - point for point, _, high in told]))
    return rows[0].model_copy(
        update={
            "value": value,
            "low": low,
            "high": high,
            "bound_low": _mean([row.bound_low or 0.0 for row in rows]),
            "bound_high": _mean([row.bound_high or 0.0 for row in rows]),
            "num_items": sum(row.num_items for row in rows),
            "num_truncated": sum(row.num_truncated for row in rows),
            "num_unscored": sum(row.num_unscored for row in rows),
            "method": BALANCED_METHOD,
        }
    )


def _has_gold(letter: str) -> Callable[[Item], bool]:
    return lambda item: gold_letters(item) == (letter,)


def _constant(items: Sequence[Item], place: dict[str, Any]) -> Score | None:
    if not items:
        return None
    share = sum(CONSTANT in gold_letters(item) for item in items) / len(items)
    return Score(
        metric="acc_constant_a",
        value=share,
        low=share,
        high=share,
        bound_low=share,
        bound_high=share,
        num_items=len(items),
        num_truncated=0,
        num_unscored=0,
        method=KEY_METHOD,
        **{**place, "judge": None, "label_source": None},
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _spread(distances: Sequence[float]) -> float:
    return math.sqrt(sum(distance * distance for distance in distances)) / len(distances)
