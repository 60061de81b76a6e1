"""Kappa and alpha against statsmodels, the authors' worked examples, and identities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.inter_rater import cohens_kappa

from safekeel.judges.base import Agreement
from safekeel.stats.agreement import cohen_kappa, krippendorff_alpha, table

LABELS = "abc"
counts = st.lists(st.lists(st.integers(0, 30), min_size=3, max_size=3), min_size=3, max_size=3)


@given(counts)
def test_kappa_and_its_interval_are_those_of_statsmodels(cells: list[list[int]]) -> None:
    confusion = {a: dict(zip(LABELS, row, strict=True)) for a, row in zip(LABELS, cells, strict=True)}
    if not np.sum(cells):
        with pytest.raises(ValueError, match="no items"):
            cohen_kappa(confusion)
        return
    ours = cohen_kappa(confusion)
    if ours.value is None:  # both raters gave one and the same label throughout
        assert np.count_nonzero(cells) == 1 and ours.observed == 1
        return
    with np.errstate(all="ignore"):
        theirs = cohens_kappa(np.array(cells))
    assert ours.value == pytest.approx(theirs.kappa, abs=1e-12)
    if ours.low is None:
        assert not theirs.var_kappa > 1e-9  # NaN where rounding makes theirs negative
    else:
        ends = max(-1, theirs.kappa_low), min(1, theirs.kappa_upp)
        assert (ours.low, ours.high) == pytest.approx(ends, abs=1e-9)


def test_no_interval_where_one_rater_says_one_thing() -> None:
    assert cohen_kappa({"no": {"yes": 4}, "yes": {"yes": 476}})[:3] == (0.0, None, None)
    assert cohen_kappa({"no": {"no": 4}, "yes": {"yes": 6}})[:3] == (1.0, None, None)


@given(counts)
def test_a_cards_kappa_is_this_kappa(cells: list[list[int]]) -> None:
    confusion = {a: dict(zip(LABELS, row, strict=True)) for a, row in zip(LABELS, cells, strict=True)}
    if total := int(np.sum(cells)):
        row = Agreement(
            lang="zh",
            part="answer",
            question="label",
            dataset="d",
            label_source="human",
            num_items=total,
            num_unscored=0,
            confusion=confusion,
        )
        value = cohen_kappa(confusion).value
        assert row.kappa == (None if value is None else pytest.approx(value, abs=1e-12))


def test_fleiss_cohen_everitt_1969_example() -> None:
    """Their worked example (three diagnoses, n = 200): kappa 0.429, variance 0.002885."""
    confusion = {
        "a": {"a": 106, "b": 10, "c": 4},
        "b": {"a": 22, "b": 28, "c": 10},
        "c": {"a": 2, "b": 12, "c": 6},
    }
    found = cohen_kappa(confusion)
    assert found.value == pytest.approx(0.429, abs=5e-4) and found.low is not None and found.high is not None
    assert ((found.high - found.low) / (2 * 1.959964)) ** 2 == pytest.approx(0.002885, abs=5e-6)


def test_krippendorffs_own_example() -> None:
    """Krippendorff 2011, part C: four observers, twelve units, missing data, nominal: alpha 0.743."""
    observers = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
        [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
    ]
    assert krippendorff_alpha(zip(*observers, strict=True)) == pytest.approx(0.743, abs=5e-4)


def test_krippendorffs_binary_example() -> None:
    """Krippendorff 2011, part A: two observers, ten units, alpha 0.095."""
    first, second = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    assert krippendorff_alpha(zip(first, second, strict=True)) == pytest.approx(0.095, abs=5e-4)


def test_alpha_needs_something_to_disagree_about() -> None:
    assert krippendorff_alpha([("a", "a"), ("a", "a")]) is None and krippendorff_alpha([("a", None)]) is None
    assert krippendorff_alpha([("a", "a"), ("b", "b"), ("a", None)]) == 1.0


def test_table_counts_pairs() -> None:
    assert table([("x", "y"), ("x", "x"), ("x", "y")]) == {"x": {"x": 1, "y": 2}}
