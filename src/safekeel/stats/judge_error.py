"""A rate as it would be under a perfect judge, from the judge's measured sensitivity and specificity.

Rogan and Gladen (1978, American Journal of Epidemiology 107:71-76) correct the share; the interval is that of Lang and
Reiczigel (2014, Preventive Veterinary Medicine 113:13-22), into which the uncertainty of the calibration set enters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from safekeel.stats.intervals import Interval, normal_quantile


@dataclass(frozen=True)
class JudgeError:
    """A judge on items with known labels: how many true hits it finds, how many true misses it leaves alone."""

    true_hits_found: int
    num_true_hits: int
    true_misses_kept: int
    num_true_misses: int

    def __post_init__(self) -> None:
        pairs = ((self.true_hits_found, self.num_true_hits), (self.true_misses_kept, self.num_true_misses))
        if any(not 0 <= part <= whole or not whole for part, whole in pairs):
            raise ValueError(f"got {self}; expected calibration items of both kinds, and parts within their wholes.")

    @property
    def sensitivity(self) -> float:
        return self.true_hits_found / self.num_true_hits

    @property
    def specificity(self) -> float:
        return self.true_misses_kept / self.num_true_misses


def rogan_gladen(observed: float, sensitivity: float, specificity: float) -> float:
    """The corrected rate, within [0, 1].

    Raises:
        ValueError: a judge that is no better than a coin (sensitivity + specificity <= 1): nothing can be corrected.
    """
    gain = sensitivity + specificity - 1
    if gain <= 0:
        raise ValueError(f"sensitivity {sensitivity:.3f} + specificity {specificity:.3f} <= 1: no better than chance.")
    return min(1.0, max(0.0, (observed + specificity - 1) / gain))


def corrected_interval(hits: int, n: int, judge: JudgeError, confidence: float = 0.95) -> Interval:
    """Interval of the corrected rate for `hits` among `n` judged items; [0, 1] where the judge decides nothing."""
    z = normal_quantile((1 + confidence) / 2)
    size, size_hits, size_misses = n + z * z, judge.num_true_hits + 2, judge.num_true_misses + 2
    observed = (hits + z * z / 2) / size
    sensitivity = (judge.true_hits_found + 1) / size_hits
    specificity = (judge.true_misses_kept + 1) / size_misses
    gain = sensitivity + specificity - 1
    if gain <= 0:
        return Interval(0.0, 1.0)
    rate = (observed + specificity - 1) / gain
    from_hits = sensitivity * (1 - sensitivity) / size_hits
    from_misses = specificity * (1 - specificity) / size_misses
    shift = 2 * z * z * (rate * from_hits - (1 - rate) * from_misses)
    spread = observed * (1 - observed) / size + rate * rate * from_hits + (1 - rate) ** 2 * from_misses
    half = z * math.sqrt(spread) / gain
    ends = (min(1.0, max(0.0, rate + shift + sign * half)) for sign in (-1, 1))
    return Interval(*ends)
