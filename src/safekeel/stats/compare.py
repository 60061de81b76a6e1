"""Before and after on the same items: the difference of two paired shares, its interval, and what it could have shown.

    difference = after - before        loss = before - after        (both over the same pairs)

The interval is Tango's score interval (1998, Statistics in Medicine 17:891-908), which stays right with few or no
discordant pairs: it never has length zero. Items that share a fact, a template or a goal are no independent evidence;
their pairs count as `effective_n` pairs (a design effect from the variance between clusters, as Yang, Sun and Hardin
2012 do for clustered matched pairs, Pharmaceutical Statistics 11:386-393).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import optimize, stats

from safekeel.stats.intervals import Interval, normal_quantile

LossVerdict = Literal["PASS", "BREACH", "INCONCLUSIVE"]
_PRIOR_CLUSTERS = 0.25
"""Weight of an imagined cluster that changes as a whole. Where few clusters change, how the changes cluster is mostly
luck: without this, a true rate of 2% in 50 clusters of 10 that move together was covered in 73% of simulations, with it
in 96%; a smaller weight leaves cells of the grid of `benchmarks/coverage.py` below 93%."""
_STEP = 1e-10  # off the point estimate, where the score equation can have a root that is no end of the interval


@dataclass(frozen=True)
class Comparison:
    """Two paired shares. Shares, differences and losses are fractions; intervals are 95%, one-sided bounds 95% too."""

    before: float
    after: float
    difference: float
    low: float
    high: float
    p: float
    """McNemar's exact test, two-sided; with clusters the larger of it and the cluster-adjusted test."""
    num_pairs: int
    num_discordant: int
    one_sided_upper_loss: float
    one_sided_lower_loss: float
    effective_n: float

    def verdict(self, budget: float) -> LossVerdict:
        """Does the loss stay within `budget`? Decided by the one-sided bounds, never by the point estimate."""
        if self.one_sided_upper_loss <= budget:
            return "PASS"
        return "BREACH" if self.one_sided_lower_loss > budget else "INCONCLUSIVE"

    @property
    def minimum_detectable(self) -> float:
        """The smallest loss budget that these pairs could have certified (80% power) had nothing been lost."""
        return minimum_detectable(self.effective_n, self.num_discordant / self.num_pairs)


def paired_difference(
    before: Sequence[bool], after: Sequence[bool], clusters: Sequence[Hashable] | None = None
) -> Comparison:
    """Compare two runs over the same items, in the same order.

    Args:
        clusters: what each item shares with others; None = all items are independent.

    Raises:
        ValueError: no items, or sequences of different lengths.
    """
    num_pairs = len(before)
    if not num_pairs or len(after) != num_pairs or (clusters is not None and len(clusters) != num_pairs):
        lengths = f"{len(before)} before, {len(after)} after" + (f", {len(clusters)} clusters" if clusters else "")
        raise ValueError(f"got {lengths}; expected the same number of items, at least one.")
    only_before = sum(b and not a for b, a in zip(before, after, strict=True))
    only_after = sum(a and not b for b, a in zip(before, after, strict=True))
    changes = [int(a) - int(b) for b, a in zip(before, after, strict=True)]
    effect = 1.0 if clusters is None else design_effect(changes, clusters)
    counts = (only_before / effect, only_after / effect, num_pairs / effect)
    low, high = tango(*counts)
    one_sided = tango(*counts, confidence=0.90)
    return Comparison(
        before=sum(map(bool, before)) / num_pairs,
        after=sum(map(bool, after)) / num_pairs,
        difference=(only_after - only_before) / num_pairs,
        low=low,
        high=high,
        p=mcnemar(only_before, only_after, effect),
        num_pairs=num_pairs,
        num_discordant=only_before + only_after,
        one_sided_upper_loss=-one_sided.low,
        one_sided_lower_loss=-one_sided.high,
        effective_n=num_pairs / effect,
    )


def tango(only_before: float, only_after: float, num_pairs: float, confidence: float = 0.95) -> Interval:
    """Tango's score interval of `(only_after - only_before) / num_pairs`; the counts may be fractional.

    Raises:
        ValueError: more discordant pairs than pairs, a negative count, or no pairs.
    """
    if min(only_before, only_after) < 0 or num_pairs <= 0 or only_before + only_after > num_pairs * (1 + 1e-12):
        raise ValueError(f"got {only_before} and {only_after} discordant pairs of {num_pairs}; expected a share.")
    z, estimate = normal_quantile((1 + confidence) / 2), (only_after - only_before) / num_pairs

    def excess(difference: float) -> float:
        """Negative inside the interval: the squared score statistic's numerator against z^2 times its variance."""
        linear = (2 * num_pairs + only_before - only_after) * difference - only_before - only_after
        constant = -only_before * difference * (1 - difference)
        root = math.sqrt(max(0.0, linear * linear - 8 * num_pairs * constant))
        share = (root - linear) / (4 * num_pairs)  # of pairs that only `before` gets, were this the difference
        variance = num_pairs * (2 * share + difference * (1 - difference))
        return (only_after - only_before - num_pairs * difference) ** 2 - z * z * variance

    return Interval(_root(excess, estimate, -1.0), _root(excess, estimate, 1.0))


def _root(excess: Callable[[float], float], estimate: float, end: float) -> float:
    """The end of the interval between the point estimate and -1 or 1."""
    start = estimate + math.copysign(_STEP, end)
    if abs(start) >= 1 or excess(start) >= 0:
        return estimate
    return float(optimize.brentq(excess, start, end, xtol=1e-12)) if excess(end) > 0 else end


def design_effect(changes: Sequence[float], clusters: Sequence[Hashable]) -> float:
    """How many times the variance of the mean change is that of independent items; at least 1.

    Without any change nothing is known about how changes cluster, so the worst is assumed: a cluster changes as a
    whole (Kish's design effect, the size-weighted mean cluster size). With changes in few clusters little is known:
    the estimate is drawn towards that worst by `_PRIOR_CLUSTERS`.
    """
    place: dict[Hashable, int] = {}
    owners = np.array([place.setdefault(cluster, len(place)) for cluster in clusters])
    values, sizes = np.asarray(changes, dtype=float), np.bincount(owners).astype(float)
    num, num_clusters, whole = len(values), len(sizes), float((sizes**2).sum() / len(values))
    mean = values.mean()
    within = float(((values - mean) ** 2).sum())
    if within == 0 or num_clusters == 1:
        return whole
    bessel = num_clusters / (num_clusters - 1) * (num - 1) / num  # of clusters over that of items
    between = float(((np.bincount(owners, weights=values) - sizes * mean) ** 2).sum()) * bessel
    prior = _PRIOR_CLUSTERS * whole
    return max(1.0, (between + prior * whole) / (within + prior))


def mcnemar(only_before: int, only_after: int, effect: float = 1.0) -> float:
    """Two-sided p-value of "no change": McNemar's exact test, a binomial test of the discordant pairs.

    Args:
        effect: the design effect of clustered pairs; above 1 the larger of the exact p and the score test's, deflated.
    """
    discordant = only_before + only_after
    if not discordant:
        return 1.0
    exact = float(stats.binomtest(only_before, discordant, 0.5).pvalue)
    score = (only_before - only_after) / math.sqrt(discordant * effect)
    return max(exact, 2 * float(stats.norm.sf(abs(score)))) if effect > 1 else exact


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment of a family of p-values, in the order given."""
    adjusted, largest = [0.0] * len(ps), 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=lambda index: ps[index])):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[index]))
        adjusted[index] = largest
    return adjusted


def minimum_detectable(n: float, discordant_rate: float, power: float = 0.8, alpha: float = 0.05) -> float:
    """The smallest loss budget that `n` pairs certify with this power when nothing is lost.

    At 10% discordant pairs a budget of one point needs about 6,200 pairs. Never below what `n` pairs without a single
    discordant one would certify.
    """
    z = normal_quantile(1 - alpha)
    floor = z * z / (n + z * z)
    return min(1.0, max(floor, (z + normal_quantile(power)) * math.sqrt(discordant_rate / n)))
