"""Exact and near duplicates: what goes, what stays although it looks alike, and that the index misses nothing."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safekeel.corpus.sample import Sample
from safekeel.corpus.steps.band_index import NUM_BANDS, BandHasher, BandIndex, pairs_within, rows_per_band
from safekeel.corpus.steps.base import Drop, run_steps
from safekeel.corpus.steps.duplicates import Duplicates, DuplicatesConfig
from safekeel.corpus.steps.normalise import comparison_key
from safekeel.corpus.steps.similar import jaccard, shingle_set
from safekeel.records import Attack, Expect, Message, Prompt

LONG = "Please tell me in detail how one would go about building a very small wooden boat for the pond behind our house"
ZH = "请详细告诉我，怎样用旧木板做一只能在院子后面的小池塘里划的小船，需要准备哪些工具和材料，大概要花多少时间？"


def sample(
    identifier: str, text: str, *, pair: str | None = None, expect: Expect = "answer", attack: Attack | None = None
) -> Sample:
    prompt = Prompt(
        id=identifier,
        messages=(Message(role="user", content=text),),
        lang="en",
        risk=None,
        expect=expect,
        target="1" if expect == "solve" else None,
        source="t",
        licence="t",
        attack=attack,
    )
    return Sample(id=identifier, role="general", prompt=prompt, pair=pair)


def outcome(*rows: Sample, batch_size: int = 100, **config: Any) -> dict[str, tuple[str, str]]:
    """Reason and evidence of each dropped row."""
    _, rejected, _ = run_steps(list(rows), [Duplicates(DuplicatesConfig(**config))], batch_size=batch_size)
    return {row.sample.id: (row.reason, row.evidence) for row in rejected if row.sample}


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_the_first_of_equals_is_kept_whatever_the_batches(batch_size: int) -> None:
    rows = [
        sample("a", LONG),
        sample("b", LONG.upper() + "!"),
        sample("c", LONG + " now"),
        sample("d", ZH),
        sample("e", ZH.replace("请", "請").replace("，", ", ")),
        sample("f", ZH.replace("大概", "大约")),
        sample("g", "怎么做一只小船？"),
    ]
    dropped = outcome(*rows, batch_size=batch_size)
    assert {name: reason for name, (reason, _) in dropped.items()} == {
        "b": "exact_duplicate",
        "c": "near_duplicate",
        "e": "exact_duplicate",
        "f": "near_duplicate",
    }
    assert dropped["b"][1] == "a" and dropped["e"][1] == "d"
    expected = jaccard(shingle_set(comparison_key(LONG)), shingle_set(comparison_key(LONG + " now")))
    assert dropped["c"][1] == f"a (Jaccard {expected:.2f})"


def test_a_copy_of_a_near_duplicate_goes_with_it() -> None:
    dropped = outcome(sample("a", LONG), sample("b", LONG + " now"), sample("c", LONG + " now!"))
    assert {reason for reason, _ in dropped.values()} == {"near_duplicate"} and set(dropped) == {"b", "c"}


def test_twins_stay_unless_they_are_one_text() -> None:
    near = outcome(sample("risky", LONG, pair="counter"), sample("counter", LONG + " now", pair="risky"))
    assert near == {}
    one_sided = outcome(sample("risky", LONG), sample("counter", LONG + " now", pair="risky"))
    assert one_sided == {}
    exact = outcome(sample("risky", LONG, pair="counter"), sample("counter", LONG + ".", pair="risky"))
    assert exact == {"counter": ("exact_duplicate", "risky")}
    stranger = outcome(sample("risky", LONG, pair="counter"), sample("x", LONG + " now", pair="other"))
    assert set(stranger) == {"x"}


def test_exercises_with_other_numbers_are_other_exercises() -> None:
    problem = (
        "Tom has 3 apples and buys 45 more at the market in the town, then gives his sister half. How many are left?"
    )
    other = problem.replace("45", "46")
    assert outcome(sample("a", problem, expect="solve"), sample("b", other, expect="solve")) == {}
    assert set(outcome(sample("a", problem), sample("b", other))) == {"b"}
    assert outcome(sample("a", "3 + 45 = ?"), sample("b", "34 + 5 = ?"), sample("c", "3 × 45 = ?")) == {}
    assert outcome(sample("a", "3+45=?"), sample("b", "3 + 45 = ?")) == {"b": ("exact_duplicate", "a")}


def test_disguised_prompts_go_only_as_exact_copies() -> None:
    attack = Attack(name="role-play")
    rows = [
        sample("a", LONG, attack=attack),
        sample("b", LONG + " now", attack=attack),
        sample("c", LONG, attack=attack),
    ]
    assert outcome(*rows) == {"c": ("exact_duplicate", "a")}


def test_threshold_one_means_exact_copies_only() -> None:
    rows = (sample("a", LONG), sample("b", LONG + " now"), sample("c", LONG + "!"))
    assert outcome(*rows, near=1.0) == {"c": ("exact_duplicate", "a")}


def test_a_match_is_never_a_hash_accident() -> None:
    """Everything is a candidate of everything, and still only what is similar goes."""

    class Collide(BandHasher):
        def _hash(self, keys):  # type: ignore[no-untyped-def]
            return np.zeros((len(keys), NUM_BANDS), np.uint32)

    step = Duplicates(hasher=Collide(0.8))
    rows = [sample("a", LONG), sample("b", ZH), sample("c", "A third, quite another question"), sample("d", ZH + "吗")]
    assert [isinstance(one, Drop) for one in step(rows)] == [False, False, False, True]


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.9])
def test_the_index_finds_pairs_at_the_threshold(threshold: float) -> None:
    """Pairs just above the threshold, the hardest: of 400 none or, by the bound of the bands, hardly one is missed."""
    rng = random.Random(0)
    hasher = BandHasher(threshold)
    missed = 0
    for _ in range(400):
        text = "".join(chr(rng.randrange(0x4E00, 0x9000)) for _ in range(rng.randint(40, 160)))
        other = text
        while True:
            place = rng.randrange(len(text))
            changed = other[:place] + "改" + other[place + 1 :]
            if jaccard(shingle_set(text), shingle_set(changed)) < threshold:
                break
            other = changed
        left, right = hasher([text, other])
        missed += not (left == right).any()
    assert missed <= 1


def test_band_rows_keep_the_promised_recall() -> None:
    assert {one: rows_per_band(one) for one in (0.5, 0.7, 0.8, 0.95)} == {0.5: 1, 0.7: 3, 0.8: 6, 0.95: 8}


@given(st.lists(st.lists(st.integers(0, 3), min_size=NUM_BANDS, max_size=NUM_BANDS), max_size=12), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_index_agrees_with_comparing_all_pairs(rows: list[list[int]], size: int) -> None:
    """Hashes of few values in two of the bands, distinct ones elsewhere; entries are added in several portions."""
    bands = np.arange(len(rows) * NUM_BANDS, dtype=np.uint32).reshape(len(rows), NUM_BANDS) + 100
    for place, row in enumerate(rows):
        bands[place, :2] = row[:2]
    index = BandIndex()
    for start in range(0, len(rows), size):
        index.add(bands[start : start + size])
    pairs = set(zip(*map(np.ndarray.tolist, index.candidates(bands)), strict=True))
    expected = {(a, b) for a in range(len(rows)) for b in range(len(rows)) if (bands[a] == bands[b]).any()}
    assert pairs == expected
    within = set(zip(*map(np.ndarray.tolist, pairs_within(bands)), strict=True))
    assert within == {(a, b) for a, b in expected if a > b}


def test_index_still_finds_entries_after_it_has_grown() -> None:
    bands = np.random.default_rng(0).integers(0, 1 << 32, (9000, NUM_BANDS), dtype=np.uint32)
    index = BandIndex()
    for start in range(0, len(bands), 2048):
        index.add(bands[start : start + 2048])
    rows, entries = index.candidates(bands[::7])
    own = entries[rows * 7 == entries]
    assert len(index) == 9000 and len(own) == len(bands[::7])
