"""Intervals of a rate and of a rate corrected for its judge, against published examples, statsmodels and simulation."""

from __future__ import annotations

import random

import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from safekeel.stats.intervals import Interval, clopper_pearson, lower_bound, upper_bound, wilson
from safekeel.stats.judge_error import JudgeError, corrected_interval, rogan_gladen

# Newcombe 1998 (Statistics in Medicine 17:857-872), Table I: methods 3 (Wilson) and 5 (Clopper-Pearson).
NEWCOMBE = [
    (81, 263, (0.2553, 0.3662), (0.2527, 0.3676)),
    (15, 148, (0.0624, 0.1605), (0.0578, 0.1617)),
    (0, 20, (0.0000, 0.1611), (0.0000, 0.1684)),
    (1, 29, (0.0061, 0.1718), (0.0009, 0.1776)),
]


@pytest.mark.parametrize(("hits", "n", "by_wilson", "exact"), NEWCOMBE)
def test_published_examples(hits: int, n: int, by_wilson: Interval, exact: Interval) -> None:
    assert wilson(hits, n) == pytest.approx(by_wilson, abs=5e-5)
    assert clopper_pearson(hits, n) == pytest.approx(exact, abs=5e-5)


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
@pytest.mark.parametrize(("hits", "n"), [(0, 1), (1, 1), (3, 10), (124, 124), (977, 1000)])
def test_agrees_with_statsmodels(hits: int, n: int, confidence: float) -> None:
    for ours, method in ((wilson, "wilson"), (clopper_pearson, "beta")):
        theirs = proportion_confint(hits, n, alpha=1 - confidence, method=method)
        assert ours(hits, n, confidence) == pytest.approx(theirs, abs=1e-9)


def test_one_sided_bounds_are_ends_of_the_two_sided_interval_and_of_scipy() -> None:
    assert clopper_pearson(7, 50, 0.90) == (lower_bound(7, 50), upper_bound(7, 50))
    assert lower_bound(7, 50) == pytest.approx(stats.binomtest(7, 50, alternative="greater").proportion_ci().low)
    assert upper_bound(0, 59) == pytest.approx(1 - 0.05 ** (1 / 59))  # the rule of three, exactly
    assert lower_bound(59, 59) == pytest.approx(0.05 ** (1 / 59))


def test_no_items_say_nothing_and_extremes_stay_within_zero_and_one() -> None:
    assert wilson(0, 0) == clopper_pearson(0, 0) == (0.0, 1.0)
    assert wilson(0, 3).low == 0.0 and wilson(3, 3).high == 1.0
    assert wilson(10**6, 10**6).high == 1.0


@pytest.mark.parametrize(("hits", "n", "confidence"), [(-1, 5, 0.95), (6, 5, 0.95), (1, 5, 0.0), (1, 5, 1.0)])
def test_impossible_counts_are_refused(hits: int, n: int, confidence: float) -> None:
    for interval in (wilson, clopper_pearson):
        with pytest.raises(ValueError, match="expected"):
            interval(hits, n, confidence)


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.3, 0.9])
@pytest.mark.parametrize("n", [20, 124])
def test_exact_interval_covers_and_wilson_covers_on_average(rate: float, n: int) -> None:
    """Coverage is summed over all outcomes, so nothing here is chance."""
    shares = {hits: float(stats.binom.pmf(hits, n, rate)) for hits in range(n + 1)}

    def coverage(interval: Interval | tuple[float, float], hits: int) -> float:
        return shares[hits] if interval[0] <= rate <= interval[1] else 0.0

    assert sum(coverage(clopper_pearson(hits, n), hits) for hits in shares) >= 0.95
    assert sum(coverage(wilson(hits, n), hits) for hits in shares) >= 0.89


def test_rogan_gladen_undoes_the_judge() -> None:
    assert rogan_gladen(0.3 * 0.9 + 0.7 * 0.05, sensitivity=0.9, specificity=0.95) == pytest.approx(0.3)
    assert rogan_gladen(0.01, 0.9, 0.95) == 0.0 and rogan_gladen(0.99, 0.9, 0.95) == 1.0
    with pytest.raises(ValueError, match="no better than chance"):
        rogan_gladen(0.5, 0.5, 0.5)


def test_a_perfect_judge_measured_endlessly_gives_the_plain_interval() -> None:
    judge = JudgeError(10**9, 10**9, 10**9, 10**9)
    agresti_coull = proportion_confint(30, 200, method="agresti_coull")
    assert corrected_interval(30, 200, judge) == pytest.approx(agresti_coull, abs=1e-6)


def test_a_judge_measured_on_fewer_items_makes_a_wider_interval() -> None:
    def width(num: int) -> float:
        low, high = corrected_interval(60, 300, JudgeError(9 * num, 10 * num, 9 * num, 10 * num))
        return high - low

    assert width(5) > width(50) > width(5000)
    assert corrected_interval(5, 10, JudgeError(5, 10, 5, 10)) == (0.0, 1.0)


def test_corrected_interval_covers_in_simulation() -> None:
    rng, sensitivity, specificity, rate = random.Random(0), 0.9, 0.93, 0.12

    def draw(n: int, share: float) -> int:
        return sum(rng.random() < share for _ in range(n))

    covered, total = 0, 400
    for _ in range(total):
        observed = draw(300, rate * sensitivity + (1 - rate) * (1 - specificity))
        judge = JudgeError(draw(100, sensitivity), 100, draw(100, specificity), 100)
        low, high = corrected_interval(observed, 300, judge)
        covered += low <= rate <= high
    assert 0.93 <= covered / total <= 0.99


@pytest.mark.parametrize("counts", [(0, 0, 5, 5), (5, 5, 0, 0), (6, 5, 5, 5), (-1, 5, 5, 5)])
def test_a_calibration_without_both_kinds_is_refused(counts: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="calibration items of both kinds"):
        JudgeError(*counts)
