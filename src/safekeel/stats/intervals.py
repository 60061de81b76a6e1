"""Intervals for a rate: how far the share of hits among `n` items may be from the true one.

`wilson` is what tables show, `clopper_pearson` what a claim rests on: it covers at least its confidence whatever the
true rate is (Newcombe 1998, Statistics in Medicine 17:857-872, compares both).
"""

from __future__ import annotations

import math
from typing import NamedTuple

from scipy import stats


class Interval(NamedTuple):
    """Two ends of an interval; of a rate, both in [0, 1]."""

    low: float
    high: float


def normal_quantile(probability: float) -> float:
    """The standard normal quantile; 1.645 for 0.95."""
    return float(stats.norm.ppf(probability))


def wilson(successes: float, n: float, confidence: float = 0.95) -> Interval:
    """Wilson's score interval. Counts may be fractional (an effective sample size); no items say nothing: [0, 1].

    Raises:
        ValueError: counts that are no share, or a confidence outside (0, 1).
    """
    _check(successes, n, confidence)
    if n == 0:
        return Interval(0.0, 1.0)
    z, rate = normal_quantile((1 + confidence) / 2), successes / n
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # At 0 and n hits the formula's ends are 0 and 1 exactly; floating point misses them by an ulp.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return Interval(low, high)


def clopper_pearson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """The exact interval (Clopper and Pearson 1934); no items say nothing: [0, 1].

    Raises:
        ValueError: as `wilson`.
    """
    _check(successes, n, confidence)
    tail = (1 - confidence) / 2
    return Interval(lower_bound(successes, n, 1 - tail), upper_bound(successes, n, 1 - tail))


def lower_bound(successes: int, n: int, confidence: float = 0.95) -> float:
    """Exact one-sided bound: with this confidence the true rate is not below it.

    Raises:
        ValueError: as `wilson`.
    """
    _check(successes, n, confidence)
    return 0.0 if successes == 0 else float(stats.beta.ppf(1 - confidence, successes, n - successes + 1))


def upper_bound(successes: int, n: int, confidence: float = 0.95) -> float:
    """Exact one-sided bound: with this confidence the true rate is not above it.

    Raises:
        ValueError: as `wilson`.
    """
    _check(successes, n, confidence)
    return 1.0 if successes == n else float(stats.beta.ppf(confidence, successes + 1, n - successes))


def _check(successes: float, n: float, confidence: float) -> None:
    if not 0 <= successes <= n:
        raise ValueError(f"got {successes} hits among {n} items, expected 0 <= hits <= items.")
    if not 0 < confidence < 1:
        raise ValueError(f"got a confidence of {confidence}, expected one between 0 and 1, such as 0.95.")
