"""Clustered rates, the 71:29 mix, the clustered bootstrap and double sampling: identities, papers, scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from safekeel.stats.bootstrap import paired_bootstrap
from safekeel.stats.clustered import PUBLISHED_MIX, clustered_rate, weighted_rate
from safekeel.stats.double_sampling import Stratum, corrected_rate, pooled
from safekeel.stats.intervals import wilson


def test_items_that_share_nothing_get_wilsons_interval() -> None:
    hits = [True] * 7 + [False] * 43
    alone, named = clustered_rate(hits), clustered_rate(hits, list(range(50)))
    assert alone == named and (alone.low, alone.high) == wilson(7, 50) and alone.effective_n == 50


def test_copies_count_once_and_fewer_clusters_widen() -> None:
    """Ten copies of 50 items are 50 items, less a little for the variance between 50 clusters being estimated."""
    hits = [True] * 7 + [False] * 43
    copies = clustered_rate(hits * 10, list(range(50)) * 10)
    t_ratio = (float(stats.t.ppf(0.975, 49)) / 1.959963984540054) ** 2
    assert copies.effective_n == pytest.approx(50 / t_ratio, rel=0.02)
    nothing = clustered_rate([False] * 500, list(range(50)) * 10)
    assert nothing.effective_n == pytest.approx(50 / t_ratio) and nothing.high < 0.08


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=1, max_size=60))
def test_clusters_never_add_items(rows: list[tuple[bool, int]]) -> None:
    hits, owners = [hit for hit, _ in rows], [owner for _, owner in rows]
    rate = clustered_rate(hits, owners)
    assert 0 <= rate.low <= rate.value <= rate.high <= 1 and rate.effective_n <= len(rows) + 1e-9


def test_wrong_lengths_are_refused() -> None:
    for hits, owners in (([], None), ([True], [1, 2])):
        with pytest.raises(ValueError, match="expected as many"):
            clustered_rate(hits, owners)  # type: ignore[arg-type]


def test_the_mix_is_the_published_one() -> None:
    """71 plain at 90% and 29 jailbreak at 60% is 81.3%."""
    plain, attacked = [True] * 90 + [False] * 10, [True] * 60 + [False] * 40
    found = weighted_rate([plain, attacked], PUBLISHED_MIX)
    assert found.value == pytest.approx(0.71 * 0.9 + 0.29 * 0.6) and found.low < found.value < found.high
    one = weighted_rate([plain, attacked], (1.0, 0.0))
    assert (one.low, one.high) == pytest.approx(wilson(90, 100))


def test_mover_by_hand() -> None:
    """Zou and Donner 2008, equation 7 for a sum: each side is the root of the summed squared distances."""
    (l1, u1), (l2, u2) = wilson(9, 100), wilson(30, 100)
    value = 0.71 * 0.09 + 0.29 * 0.30
    low = value - math.hypot(0.71 * (0.09 - l1), 0.29 * (0.30 - l2))
    high = value + math.hypot(0.71 * (u1 - 0.09), 0.29 * (u2 - 0.30))
    groups = [[True] * 9 + [False] * 91, [True] * 30 + [False] * 70]
    found = weighted_rate(groups, (0.71, 0.29))
    assert (found.low, found.high) == pytest.approx((low, high))


def test_shared_goals_widen_the_mix() -> None:
    """The same hits on the same goals in both groups are one group's evidence: 71:29 of them is that group."""
    hits = [True] * 20 + [False] * 80
    owners = list(range(100))
    apart = weighted_rate([hits, hits], (0.71, 0.29), [owners, list(range(100, 200))])
    together = weighted_rate([hits, hits], (0.71, 0.29), [owners, owners])
    assert (together.low, together.high) == pytest.approx(wilson(20, 100)) and together.high > apart.high
    free = weighted_rate([hits, hits], (0.71, 0.29))
    assert (free.low, free.high) == pytest.approx((apart.low, apart.high))
    perfect = weighted_rate([[True] * 50, [True] * 50], (0.71, 0.29))
    assert perfect.value == 1.0 and perfect.high == 1.0 and 0.9 < perfect.low < 1.0


@pytest.mark.parametrize("weights", [(0.7, 0.29), (1.0,), (1.5, -0.5)])
def test_weights_must_be_a_mix(weights: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="adding up to 1"):
        weighted_rate([[True], [False]], weights)


def test_percentile_bootstrap_agrees_with_scipy() -> None:
    """scipy resamples single items; with many of them our widening for few clusters is small."""
    rng = np.random.default_rng(5)
    before, after = rng.random(400), rng.random(400) + 0.1
    ours = paired_bootstrap(before.tolist(), after.tolist(), seed=1)
    theirs = stats.bootstrap(
        (after - before,), np.mean, n_resamples=4000, method="percentile", rng=2
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.005)
    bca = paired_bootstrap(before.tolist(), after.tolist(), seed=1, kind="bca")
    expected = stats.bootstrap((after - before,), np.mean, n_resamples=4000, method="BCa", rng=2).confidence_interval
    assert (bca.low, bca.high) == pytest.approx((expected.low, expected.high), abs=0.005)


def test_bootstrap_draws_whole_clusters() -> None:
    """Ten copies of an item are one: the interval is that of the 60 items."""
    rng = np.random.default_rng(6)
    changes = rng.normal(size=60)
    once = paired_bootstrap([0.0] * 60, changes.tolist())
    copies = paired_bootstrap([0.0] * 600, np.tile(changes, 10).tolist(), list(range(60)) * 10)
    assert (copies.low, copies.high) == pytest.approx((once.low, once.high)) and copies.num_clusters == 60
    assert copies == paired_bootstrap([0.0] * 600, np.tile(changes, 10).tolist(), list(range(60)) * 10)
    assert copies != paired_bootstrap([0.0] * 600, np.tile(changes, 10).tolist(), list(range(60)) * 10, seed=1)
    for clusters in ([1] * 60, [1, 2]):
        with pytest.raises(ValueError, match="expected"):
            paired_bootstrap([0.0] * 60, changes.tolist(), clusters)


def tenenbein(rows: int, labelled: int, rate: float, sensitivity: float, specificity: float) -> float:
    """Variance of Tenenbein 1970, equation 3.3: pq/n (1 - K) + pq/N K, K = squared correlation of label and truth."""
    p, q = rate, 1 - rate
    seen = p * sensitivity + q * (1 - specificity)
    k = p * q * (sensitivity + specificity - 1) ** 2 / (seen * (1 - seen))
    return p * q / labelled * (1 - k) + p * q / rows * k


def test_double_sampling_has_tenenbeins_variance() -> None:
    """With counts at their expected values the interval's half-width is 1.96 of his standard errors."""
    rows, labelled, rate, sens, spec = 50_000, 10_000, 0.2, 0.8, 0.9
    yes = round(rows * (rate * sens + (1 - rate) * (1 - spec)))
    strata = []
    for size, hits in ((yes, rows * rate * sens), (rows - yes, rows * rate * (1 - sens))):
        strata.append(Stratum(size, size * labelled // rows, round(hits * labelled / rows)))
    found = corrected_rate(strata)
    assert found.value == pytest.approx(rate)
    half = 1.959963984540054 * math.sqrt(tenenbein(rows, labelled, rate, sens, spec))
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.01)
    assert found.gain == pytest.approx(
        rate * (1 - rate) / labelled / tenenbein(rows, labelled, rate, sens, spec), rel=0.01
    )


def test_double_sampling_at_its_ends() -> None:
    everything = corrected_rate([Stratum(300, 300, 60)])
    assert (everything.low, everything.high) == pytest.approx(wilson(60, 300))  # all rows read by people
    agresti = proportion_confint(0, 300, method="wilson")
    none = corrected_rate([Stratum(1000, 300, 0)])
    assert none.low == 0 and none.high == pytest.approx(agresti[1]) and none.gain is None
    with pytest.raises(ValueError, match="no labelled rows"):
        corrected_rate([Stratum(10, 0, 0)])
    with pytest.raises(ValueError, match="0 <= hits"):
        Stratum(10, 5, 6)
    with pytest.raises(ValueError, match="at least 1"):
        corrected_rate([Stratum(10, 5, 2)], effect=0.5)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=5))
def test_corrected_rate_properties(rows: list[tuple[int, int, int]]) -> None:
    strata = [Stratum(size + max(n, k), max(n, k), min(n, k)) for size, n, k in rows]
    if not sum(s.num_labelled for s in strata):
        return
    found = corrected_rate(strata)
    assert 0 <= found.low <= found.value <= found.high <= 1
    wider = corrected_rate(strata, effect=2.0, run_effect=2.0)
    assert wider.low <= found.low + 1e-12 and wider.high >= found.high - 1e-12
    joined = pooled(strata)
    assert sum(s.size for s in joined) == sum(s.size for s in strata)
    assert len(joined) == 1 or min(s.num_labelled for s in joined) >= 2
