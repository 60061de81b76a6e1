"""How far two raters, or many, agree beyond chance, on labels without an order."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple

from safekeel.stats.intervals import normal_quantile


class Kappa(NamedTuple):
    """Cohen's kappa with its interval.

    `value` is None where chance alone explains everything; the ends are None where the large-sample formula has no
    variance to go by.
    """

    value: float | None
    low: float | None
    high: float | None
    observed: float
    """Share of items on which the two raters agree."""
    num_items: float


def table(pairs: Iterable[tuple[str, str]]) -> dict[str, dict[str, int]]:
    """(first rater's label, second rater's label) per item -> nested counts, labels sorted."""
    counts = Counter(pairs)
    rows = sorted({first for first, _ in counts})
    return {a: {b: n for (first, b), n in sorted(counts.items()) if first == a} for a in rows}


def cohen_kappa(confusion: Mapping[str, Mapping[str, float]], confidence: float = 0.95) -> Kappa:
    """Kappa of two raters (Cohen 1960) with the large-sample interval of Fleiss, Cohen and Everitt (1969).

    Args:
        confusion: first rater's label -> second rater's label -> number of items.

    Raises:
        ValueError: there are no items.
    """
    total = sum(n for row in confusion.values() for n in row.values())
    if not total:
        raise ValueError("got no items, expected at least one with two labels.")
    share = {(a, b): n / total for a, row in confusion.items() for b, n in row.items() if n}
    labels = {label for pair in share for label in pair}
    first = {a: sum(p for (x, _), p in share.items() if x == a) for a in labels}
    second = {a: sum(p for (_, y), p in share.items() if y == a) for a in labels}
    observed = sum(p for (a, b), p in share.items() if a == b)
    chance = sum(first[a] * second[a] for a in labels)
    if chance >= 1 - 1e-12:
        return Kappa(None, None, None, observed, total)
    value = (observed - chance) / (1 - chance)
    diagonal = sum(share.get((a, a), 0.0) * (1 - (first[a] + second[a]) * (1 - value)) ** 2 for a in labels)
    off = (1 - value) ** 2 * sum(p * (second[a] + first[b]) ** 2 for (a, b), p in share.items() if a != b)
    variance = (diagonal + off - (value - chance * (1 - value)) ** 2) / (total * (1 - chance) ** 2)
    if variance < 1e-12:  # full agreement, or one rater who says the same throughout: no large-sample interval
        return Kappa(value, None, None, observed, total)
    half = normal_quantile((1 + confidence) / 2) * math.sqrt(variance)
    return Kappa(value, max(-1.0, value - half), min(1.0, value + half), observed, total)


def krippendorff_alpha(units: Iterable[Sequence[Hashable | None]]) -> float | None:
    """Alpha for nominal labels (Krippendorff 2011, "Computing Krippendorff's alpha-reliability").

    Any number of raters; None marks a missing label, and units with fewer than two labels say nothing.

    Returns:
        Alpha, or None where all labels are the same (there is no disagreement to expect) or no unit has two.
    """
    coincidences: Counter[tuple[Hashable, Hashable]] = Counter()
    for unit in units:
        labels = [label for label in unit if label is not None]
        for i, a in enumerate(labels):
            for j, b in enumerate(labels):
                if i != j:
                    coincidences[a, b] += 1 / (len(labels) - 1)  # type: ignore[assignment]
    totals: Counter[Hashable] = Counter()
    for (a, _), n in coincidences.items():
        totals[a] += n
    num = sum(totals.values())
    expected = sum(totals[a] * totals[b] for a in totals for b in totals if a != b)
    if not expected:
        return None
    disagreed = sum(n for (a, b), n in coincidences.items() if a != b)
    return 1 - (num - 1) * disagreed / expected
