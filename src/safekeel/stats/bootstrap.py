"""Bootstrap of a paired difference, with whole clusters drawn: for values that are no yes/no, or as a second opinion.

For paired yes/no outcomes `compare.paired_difference` is the interval to show: a bootstrap of data with few discordant
pairs is too short, and of data with none it has length zero. The kinds below were chosen by their simulated coverage
(`benchmarks/coverage.py`): on changes that are -1, 0 or 1 the percentile interval holds the truth more often than BCa
and than the studentised one, which was dropped.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from scipy import stats

Kind = Literal["percentile", "bca"]
NUM_RESAMPLES = 2000
_CHUNK_CELLS = 4_000_000  # resamples x clusters held in memory at once (32 MB)


class Bootstrap(NamedTuple):
    """A mean change with its interval; a fraction where the values are 0 and 1."""

    value: float
    low: float
    high: float
    num_clusters: int


def paired_bootstrap(
    before: Sequence[float],
    after: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    *,
    confidence: float = 0.95,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
    kind: Kind = "percentile",
) -> Bootstrap:
    """Interval of the mean of `after - before` over the same items, by drawing clusters with replacement.

    Kinds: `percentile`, with levels moved outwards for few clusters (Hesterberg 2015, The American Statistician
    69:371-386, section 4.3); `bca`, bias-corrected and accelerated (Efron and Tibshirani 1993, An Introduction to the
    Bootstrap, section 14.3).

    Raises:
        ValueError: no items, lengths that differ, or fewer than two clusters.
    """
    if not len(before) or len(before) != len(after) or (clusters is not None and len(clusters) != len(before)):
        raise ValueError(f"got {len(before)} before and {len(after)} after; expected the same items, at least one.")
    changes = np.asarray(after, dtype=float) - np.asarray(before, dtype=float)
    owners = np.arange(len(changes)) if clusters is None else _codes(clusters)
    sums, sizes = np.bincount(owners, weights=changes), np.bincount(owners).astype(float)
    if len(sums) < 2:
        raise ValueError("got one cluster, expected at least two: one says nothing about the variation between them.")
    low, high = cluster_interval(sums, sizes, confidence, num_resamples, seed, kind)
    return Bootstrap(float(sums.sum() / sizes.sum()), low, high, len(sums))


def cluster_interval(
    sums: np.ndarray, sizes: np.ndarray, confidence: float, num_resamples: int, seed: int, kind: Kind
) -> tuple[float, float]:
    """Interval of the ratio `sums.sum() / sizes.sum()` over clusters; arrays of one entry per cluster."""
    drawn = _resample(sums, sizes, num_resamples, np.random.default_rng(seed))
    tails = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    levels = _bca_levels(sums, sizes, drawn, tails) if kind == "bca" else _expanded(tails, len(sums))
    low, high = np.quantile(drawn, levels)
    return float(low), float(high)


def _codes(clusters: Sequence[Hashable]) -> np.ndarray:
    place: dict[Hashable, int] = {}
    return np.array([place.setdefault(name, len(place)) for name in clusters])


def _resample(sums: np.ndarray, sizes: np.ndarray, num_resamples: int, rng: np.random.Generator) -> np.ndarray:
    """The ratio in every resample of clusters."""
    num, rows = len(sums), max(1, _CHUNK_CELLS // len(sums))
    values = np.empty(num_resamples)
    for start in range(0, num_resamples, rows):
        chosen = rng.integers(0, num, size=(min(rows, num_resamples - start), num))
        values[start : start + len(chosen)] = sums[chosen].sum(axis=1) / sizes[chosen].sum(axis=1)
    return values


def _expanded(tails: np.ndarray, num: int) -> np.ndarray:
    """Levels that make a percentile interval as wide as one with t quantiles and an unbiased variance."""
    return np.asarray(stats.norm.cdf(stats.t.ppf(tails, num - 1) * np.sqrt(num / (num - 1))))


def _bca_levels(sums: np.ndarray, sizes: np.ndarray, drawn: np.ndarray, tails: np.ndarray) -> np.ndarray:
    """The quantiles to read off instead of `tails`: bias from the resamples, acceleration from the jackknife."""
    value = sums.sum() / sizes.sum()
    below = (np.sum(drawn < value) + 0.5 * np.sum(drawn == value)) / len(drawn)
    bias = stats.norm.ppf(np.clip(below, 1 / (len(drawn) + 1), len(drawn) / (len(drawn) + 1)))
    left_out = (sums.sum() - sums) / (sizes.sum() - sizes)
    deviations = left_out.mean() - left_out
    spread = (deviations**2).sum()
    acceleration = (deviations**3).sum() / (6 * spread**1.5) if spread > 0 else 0.0
    z = bias + stats.norm.ppf(tails)
    return np.asarray(stats.norm.cdf(bias + z / (1 - acceleration * z)))
