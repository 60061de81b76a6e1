"""A rate whose items share something: several samples of a prompt, several disguises of one goal."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from safekeel.stats.compare import design_effect
from safekeel.stats.intervals import Interval, normal_quantile, wilson

PUBLISHED_MIX = (0.71, 0.29)
"""Plain and jailbreak shares of the seed's test set: its one published figure is over this mix (DESIGN section 4)."""


class Rate(NamedTuple):
    """A share with its 95% interval, and as how many independent items its items count."""

    value: float
    low: float
    high: float
    effective_n: float


def clustered_rate(hits: Sequence[bool], clusters: Sequence[Hashable] | None = None, confidence: float = 0.95) -> Rate:
    """Wilson's interval on the effective number of items (`cluster_effect`).

    With few clusters the variance between them is itself uncertain; the effective number is then reduced as by Korn
    and Graubard (1998, Survey Methodology 24:193-201): by the squared ratio of the normal to the t quantile with
    clusters - 1 degrees of freedom.

    Raises:
        ValueError: no items, or not as many clusters as items.
    """
    num = len(hits)
    if not num or (clusters is not None and len(clusters) != num):
        raise ValueError(f"got {num} items and {len(clusters or [])} clusters; expected as many, at least one.")
    effective = num / cluster_effect(hits, clusters, confidence)
    rate = sum(map(bool, hits)) / num
    low, high = wilson(rate * effective, effective, confidence)
    return Rate(rate, low, high, effective)


def cluster_effect(hits: Sequence[bool], clusters: Sequence[Hashable] | None, confidence: float = 0.95) -> float:
    """By how much the number of items shrinks to the effective one; 1 for items that share nothing."""
    if clusters is None or (num_clusters := len(set(clusters))) == len(hits):
        return 1.0
    effect = design_effect([float(bool(hit)) for hit in hits], clusters)
    if num_clusters == 1:
        return effect
    tail = (1 + confidence) / 2
    return effect * (float(stats.t.ppf(tail, num_clusters - 1)) / normal_quantile(tail)) ** 2


def weighted_rate(
    groups: Sequence[Sequence[bool]],
    weights: Sequence[float],
    clusters: Sequence[Sequence[Hashable]] | None = None,
    confidence: float = 0.95,
) -> Rate:
    """A fixed mix of the rates of several groups, such as 71 parts plain and 29 parts jailbreak (`PUBLISHED_MIX`).

    Interval: MOVER (Zou and Donner 2008, Statistics in Medicine 27:1693-1702) over the groups' Wilson intervals, which
    stays right at 0% and 100%, where the delta method's has no length; with the covariance of groups that share
    clusters (attacks on the goals that are also asked plainly).

    Args:
        weights: one per group, adding up to 1.
        clusters: per group, what each item shares with others of any group; None = all items are independent.

    Raises:
        ValueError: weights that do not add up to 1, an empty group, or lengths that differ.
    """
    if len(weights) != len(groups) or not math.isclose(sum(weights), 1.0, abs_tol=1e-9) or min(weights) < 0:
        raise ValueError(f"got weights {tuple(weights)} for {len(groups)} groups; expected one each, adding up to 1.")
    if clusters is not None and len(clusters) != len(groups):
        raise ValueError(f"got clusters of {len(clusters)} groups, expected {len(groups)}.")
    rates = [
        clustered_rate(group, clusters[index] if clusters is not None else None, confidence)
        for index, group in enumerate(groups)
    ]
    value = sum(w * rate.value for w, rate in zip(weights, rates, strict=True))
    correlation = _correlation(groups, clusters) if clusters is not None else np.eye(len(groups))
    below = np.array([w * (rate.value - rate.low) for w, rate in zip(weights, rates, strict=True)])
    above = np.array([w * (rate.high - rate.value) for w, rate in zip(weights, rates, strict=True)])
    low = max(0.0, value - math.sqrt(max(0.0, below @ correlation @ below)))
    high = min(1.0, value + math.sqrt(max(0.0, above @ correlation @ above)))
    return Rate(value, low, high, _equivalent_n(value, Interval(low, high), confidence))


def _correlation(groups: Sequence[Sequence[bool]], clusters: Sequence[Sequence[Hashable]]) -> np.ndarray:
    """Correlation of the groups' rates through shared clusters; never below 0, 1 where nothing varies (the worst)."""
    names = list(dict.fromkeys(name for group in clusters for name in group))
    place = {name: index for index, name in enumerate(names)}
    residuals = np.zeros((len(groups), len(names)))
    present = np.zeros((len(groups), len(names)), dtype=bool)
    for row, (hits, owners) in enumerate(zip(groups, clusters, strict=True)):
        mean = sum(map(bool, hits)) / len(hits)
        for hit, owner in zip(hits, owners, strict=True):
            residuals[row, place[owner]] += bool(hit) - mean
            present[row, place[owner]] = True
    products, size = residuals @ residuals.T, np.sqrt((residuals**2).sum(axis=1))
    shares = (present.astype(float) @ present.T.astype(float)) > 0
    scale = np.outer(size, size)
    found = np.where(scale > 0, products / np.where(scale > 0, scale, 1.0), shares.astype(float))
    correlation = np.clip(np.where(shares, found, 0.0), 0.0, 1.0)
    np.fill_diagonal(correlation, 1.0)
    return correlation


def _equivalent_n(value: float, interval: Interval, confidence: float) -> float:
    """How many independent items would give an interval of this width (at the middle of the interval)."""
    half, z = (interval.high - interval.low) / 2, normal_quantile((1 + confidence) / 2)
    middle = (interval.low + interval.high) / 2
    return z * z * middle * (1 - middle) / half**2 if half > 0 else math.inf
