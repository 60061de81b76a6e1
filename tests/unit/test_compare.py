"""Paired comparison: published intervals, identities with McNemar's test, clusters, and coverage by simulation."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from safekeel.stats.compare import design_effect, holm, minimum_detectable, paired_difference, tango


def pairs(both: int, only_before: int, only_after: int, neither: int) -> tuple[list[bool], list[bool]]:
    """The items of a paired 2x2 table."""
    table = [(True, True)] * both + [(True, False)] * only_before + [(False, True)] * only_after
    table += [(False, False)] * neither
    return [b for b, _ in table], [a for _, a in table]


@pytest.mark.parametrize(
    ("only_first", "only_second", "n", "confidence", "expected"),
    [(9, 3, 32, 0.95, (-0.027, 0.390)), (0, 1, 44, 0.90, (-0.096, 0.037))],
)
def test_tangos_published_examples(
    only_first: int, only_second: int, n: int, confidence: float, expected: tuple[float, float]
) -> None:
    """Tango 1998; his difference is first minus second, ours second minus first."""
    low, high = tango(only_first, only_second, n, confidence)
    assert (-high, -low) == pytest.approx(expected, abs=5e-4)


def test_without_discordant_pairs_the_interval_has_a_length() -> None:
    z = 1.959963984540054
    low, high = tango(0, 0, 2000)
    assert high == pytest.approx(z * z / (2000 + z * z)) and low == pytest.approx(-high)
    same = paired_difference([True] * 2000, [True] * 2000)
    assert same.difference == 0 and same.p == 1.0 and same.num_discordant == 0
    assert 0 < same.one_sided_upper_loss < same.high
    assert same.verdict(0.01) == "PASS"


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 60))
def test_interval_properties(only_before: int, only_after: int, agreeing: int) -> None:
    n = only_before + only_after + agreeing
    if not n:
        return
    low, high = tango(only_before, only_after, n)
    estimate = (only_after - only_before) / n
    assert -1 <= low <= estimate <= high <= 1 and high - low > 0
    assert tango(only_after, only_before, n) == pytest.approx((-high, -low), abs=1e-7)  # the two runs exchanged
    if only_before + only_after:
        # At a difference of zero Tango's statistic is McNemar's: the interval excludes zero as the test rejects.
        table = [[agreeing, only_before], [only_after, 0]]
        p = float(mcnemar(table, exact=False, correction=False).pvalue)
        assert (low > 0 or high < 0) == (p < 0.05) or math.isclose(p, 0.05, abs_tol=1e-6)


def test_the_comparison_of_a_table() -> None:
    before, after = pairs(80, 12, 3, 5)
    found = paired_difference(before, after)
    assert (found.before, found.after, found.num_pairs, found.num_discordant) == (0.92, 0.83, 100, 15)
    assert found.difference == pytest.approx(-0.09) and (found.low, found.high) == tango(12, 3, 100)
    assert found.p == pytest.approx(float(mcnemar([[80, 12], [3, 5]], exact=True).pvalue))
    one_sided = tango(12, 3, 100, 0.90)
    assert (found.one_sided_lower_loss, found.one_sided_upper_loss) == (-one_sided.high, -one_sided.low)
    assert found.effective_n == 100
    assert found.verdict(0.01) == "BREACH" and found.verdict(0.2) == "PASS" and found.verdict(0.09) == "INCONCLUSIVE"


def test_items_that_are_their_own_cluster_change_nothing() -> None:
    before, after = pairs(80, 12, 3, 5)
    alone = paired_difference(before, after)
    assert paired_difference(before, after, list(range(100))) == alone
    assert paired_difference(before, after, ["x" if i < 0 else str(i) for i in range(100)]) == alone


def test_copies_of_an_item_are_no_evidence() -> None:
    """Ten copies of 100 pairs in 100 clusters give nearly the interval of the 100 pairs, not that of 1,000."""
    before, after = pairs(80, 12, 3, 5)
    once = paired_difference(before, after)
    copies = paired_difference(before * 10, after * 10, list(range(100)) * 10)
    assert copies.difference == once.difference
    assert copies.effective_n == pytest.approx(100, rel=0.02)
    assert (copies.low, copies.high) == pytest.approx((once.low, once.high), abs=2e-3)
    assert copies.p > 0.01 > paired_difference(before * 10, after * 10).p


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 5)), min_size=1, max_size=60))
def test_clusters_never_narrow_the_interval(rows: list[tuple[bool, bool, int]]) -> None:
    before, after, clusters = ([row[i] for row in rows] for i in range(3))
    plain, clustered = paired_difference(before, after), paired_difference(before, after, clusters)
    assert clustered.effective_n <= plain.effective_n + 1e-9
    assert clustered.low <= plain.low + 1e-9 and clustered.high >= plain.high - 1e-9
    assert clustered.p >= plain.p
    assert clustered.one_sided_upper_loss >= plain.one_sided_upper_loss - 1e-9


def test_without_changes_whole_clusters_are_assumed_to_move_together() -> None:
    assert design_effect([0] * 12, ["a"] * 6 + ["b"] * 4 + ["c", "d"]) == pytest.approx((36 + 16 + 1 + 1) / 12)
    assert design_effect([1, 0, 0, 0], ["a"] * 4) == 4  # one cluster alone says nothing about the variance between


@pytest.mark.parametrize(
    ("before", "after", "clusters"), [([], [], None), ([True], [], None), ([True], [True], [1, 2])]
)
def test_unequal_or_empty_runs_are_refused(before: list[bool], after: list[bool], clusters: list[int] | None) -> None:
    with pytest.raises(ValueError, match="same number of items"):
        paired_difference(before, after, clusters)


def test_impossible_tables_are_refused() -> None:
    for counts in ((3, 3, 5), (-1, 0, 5), (0, 0, 0)):
        with pytest.raises(ValueError, match="discordant"):
            tango(*counts)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_agrees_with_statsmodels(ps: list[float]) -> None:
    assert holm(ps) == pytest.approx(list(multipletests(ps, method="holm")[1]))


def test_holm_of_nothing() -> None:
    assert holm([]) == []


def test_minimum_detectable_effect_is_the_one_of_the_design_page() -> None:
    assert minimum_detectable(6183, 0.10) == pytest.approx(0.01, abs=1e-5)  # "a 1-point margin needs ~6,200 pairs"
    assert minimum_detectable(500, 0.10) > 0.03  # MATH-500 alone cannot certify one point
    assert minimum_detectable(2000, 0.0) == pytest.approx(tango(0, 0, 2000, 0.90).high)
    assert minimum_detectable(1, 1.0) == 1.0


def simulated(
    num_clusters: int, size: int, together: float, loss: float, gain: float, reps: int
) -> tuple[float, float]:
    """Share of simulations in which the two-sided interval and the one-sided bound hold the truth."""
    rng, held, bounded = random.Random(20261121), 0, 0

    def change() -> int:
        draw = rng.random()
        return -1 if draw < loss else 1 if draw < loss + gain else 0

    for _ in range(reps):
        changes, clusters = [], []
        for cluster in range(num_clusters):
            shared = change()
            changes += [shared if rng.random() < together else change() for _ in range(size)]
            clusters += [cluster] * size
        found = paired_difference([c != 1 for c in changes], [c != -1 for c in changes], clusters)
        held += found.low <= gain - loss <= found.high
        bounded += found.one_sided_upper_loss >= loss - gain
    return held / reps, bounded / reps


@pytest.mark.parametrize("loss", [0.002, 0.02, 0.1])
@pytest.mark.parametrize(("size", "together"), [(1, 0.0), (5, 0.0), (5, 0.6), (5, 1.0)])
def test_coverage_in_simulation(size: int, together: float, loss: float) -> None:
    """95% intervals hold the truth in at least about 95% of cases, also with hardly any change and within clusters."""
    held, bounded = simulated(300 // size, size, together, loss, loss / 2, reps=150)
    assert held >= 0.90 and bounded >= 0.90
