"""A rate from two samples of the same run: a judge's labels on all rows, people's labels on a random part of them.

The judge's labels divide the rows into strata of known size; within a stratum people's labels say how often the
question is really answered with yes. The corrected rate is the size-weighted mean of these shares, which is unbiased
whatever errors the judge makes: Tenenbein 1970 (JASA 65:1350-1361) for two labels, Tenenbein 1972 (Technometrics
14:187-202) for several. A better judge makes a narrower interval, a worse one a wider, never a wrong one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from safekeel.stats.intervals import normal_quantile, wilson


@dataclass(frozen=True)
class Stratum:
    """The rows that got one label from the judge: how many, and what people say about those they read."""

    size: int
    """Rows of the run in the stratum."""
    num_labelled: int
    num_hits: int

    def __post_init__(self) -> None:
        if not 0 <= self.num_hits <= self.num_labelled <= self.size:
            raise ValueError(f"got {self}; expected 0 <= hits <= labelled <= size.")


@dataclass(frozen=True)
class Corrected:
    """A corrected rate with its interval; `gain` is how many labelled rows of a plain sample one of these is worth."""

    value: float
    low: float
    high: float
    num_rows: int
    num_labelled: int
    gain: float | None


def pooled(strata: Sequence[Stratum], at_least: int = 2) -> list[Stratum]:
    """Strata with fewer than `at_least` labelled rows joined with the next larger ones, so that each has a variance.

    Raises:
        ValueError: nothing is labelled.
    """
    todo = sorted((s for s in strata if s.size), key=lambda s: (s.num_labelled, s.size))
    if not sum(s.num_labelled for s in todo):
        raise ValueError("got no labelled rows, expected at least one.")
    while len(todo) > 1 and todo[0].num_labelled < at_least:
        a, b = todo[:2]
        joined = Stratum(a.size + b.size, a.num_labelled + b.num_labelled, a.num_hits + b.num_hits)
        todo = sorted([joined, *todo[2:]], key=lambda s: (s.num_labelled, s.size))
    return todo


def corrected_rate(
    strata: Sequence[Stratum], confidence: float = 0.95, effect: float = 1.0, run_effect: float = 1.0
) -> Corrected:
    """The rate among all rows of the run and its interval, as of the prompts that these rows are a sample of.

    Interval: the strata's Wilson intervals combined by MOVER (as Yan and Su 2010, Statistics in Biopharmaceutical
    Research 2:329-335, do for stratified proportions), plus the variance that the strata's sizes have because the run's
    rows are a sample themselves (Cochran 1977, Sampling Techniques, section 12.2).

    Args:
        effect: by how much items that share a cluster shrink the labelled sample (`cluster_effect`); 1 = independent.
        run_effect: the same for all rows of the run.

    Raises:
        ValueError: nothing is labelled, or an effect below 1.
    """
    if min(effect, run_effect) < 1:
        raise ValueError(f"got the effects {effect} and {run_effect}, expected at least 1.")
    used = pooled(strata)
    num, num_labelled = sum(s.size for s in used), sum(s.num_labelled for s in used)
    shares = [s.num_hits / s.num_labelled for s in used]
    value = sum(s.size / num * share for s, share in zip(used, shares, strict=True))
    z = normal_quantile((1 + confidence) / 2)
    below = above = 0.0
    for s, share in zip(used, shares, strict=True):
        low, high = wilson(s.num_hits / effect, s.num_labelled / effect, confidence)
        below += (s.size / num) ** 2 * (share - low) ** 2
        above += (s.size / num) ** 2 * (high - share) ** 2
    between = _between(used, shares, value, num)
    first = z * z * run_effect * between / num
    low, high = value - math.sqrt(below + first), value + math.sqrt(above + first)
    plain = value * (1 - value) / num_labelled
    variance = sum((s.size / num) ** 2 * p * (1 - p) / s.num_labelled for s, p in zip(used, shares, strict=True))
    gain = plain / (variance + between / num) if variance + between > 0 else None
    return Corrected(value, max(0.0, low), min(1.0, high), num, num_labelled, gain)


def _between(strata: Sequence[Stratum], shares: Sequence[float], value: float, num: int) -> float:
    return sum(s.size / num * (share - value) ** 2 for s, share in zip(strata, shares, strict=True))
