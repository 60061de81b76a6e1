"""What every source of the corpus promises, and what the project's own prompts promise."""

from __future__ import annotations

import os
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from safekeel.bench.safety.tc260 import read_bank
from safekeel.corpus.sample import Rejected, Sample
from safekeel.corpus.sources import SourcesConfig, open_sources
from safekeel.corpus.sources.language import guess_lang
from safekeel.corpus.sources.public import LOADERS, open_set
from safekeel.corpus.sources.starter import StarterSource
from safekeel.data.bank_check import near_pairs
from safekeel.data.registry import find_set
from safekeel.data.starter import StarterRow, read_starter
from safekeel.records import Lang
from safekeel.taxonomy import load_taxonomy

DATA = Path(os.environ.get("SAFEKEEL_DATA", "/nonexistent"))
LANGS: tuple[Lang, ...] = ("zh", "en")
MIN_ROWS = 40
"""Per category and language (issue 4)."""
NEAR_IN_STARTER, NEAR_BANK = 0.75, 0.5
COUNTS = {
    # set: samples by role and language, all rows of the training files (shared/reference/datasets.md)
    "star1": {("risky", "en"): 1000},
    "alpaca-demo": {("general", "zh"): 1000, ("general", "en"): 999},
    "gsm8k": {("replay", "en"): 7473},
    "ceval": {("replay", "zh"): 260},
    "cmmlu": {("replay", "zh"): 335},
    "mmlu": {("replay", "en"): 285},
}


@cache
def starter() -> tuple[StarterRow, ...]:
    return tuple(read_starter())


# ---------------------------------------------------------------------------------------------------------- starter


def test_every_category_has_at_least_40_rows_in_each_language():
    counts = Counter(row.category for row in starter() for lang in LANGS if row.request(lang) and row.counter(lang))
    expected = load_taxonomy().subset("31")
    assert {category: counts[category] // len(LANGS) for category in expected if counts[category] < 2 * MIN_ROWS} == {}
    assert set(counts) == set(expected)


def test_ids_are_numbered_by_category():
    for category in {row.category for row in starter()}:
        ids = [row.id for row in starter() if row.category == category]
        assert ids == [f"starter-{category}-{number:03d}" for number in range(1, len(ids) + 1)]


@pytest.mark.parametrize("lang", LANGS)
def test_triggers_stand_in_both_texts(lang):
    wrong = [
        (row.id, trigger)
        for row in starter()
        for trigger in row.triggers(lang)
        for text in (row.request(lang), row.counter(lang))
        if trigger.lower() not in text.lower()
    ]
    assert wrong == []


@pytest.mark.parametrize("lang", LANGS)
def test_texts_are_in_their_language(lang):
    texts = [(row.id, text) for row in starter() for text in (row.request(lang), row.counter(lang))]
    assert [identifier for identifier, text in texts if guess_lang(text) != lang] == []


@pytest.mark.parametrize("lang", LANGS)
def test_no_near_duplicates_within_the_starter_prompts(lang):
    texts = starter_texts(lang)
    near = [pair for pair in near_pairs(texts, texts) if pair[0] < pair[1] and pair[2] >= NEAR_IN_STARTER]
    assert near == []


@pytest.mark.parametrize("lang", LANGS)
def test_nothing_of_the_test_banks_is_in_the_starter_prompts(lang):
    bank = [(row.id, str(getattr(row, lang))) for name in ("generated", "refuse", "answer") for row in read_bank(name)]
    assert [pair for pair in near_pairs(starter_texts(lang), bank) if pair[2] >= NEAR_BANK] == []


def starter_texts(lang: Lang) -> list[tuple[str, str]]:
    """Requests and counterparts by name."""
    return [
        (f"{row.id}{suffix}", text)
        for row in starter()
        for suffix, text in (("", row.request(lang)), ("/counter", row.counter(lang)))
    ]


def test_the_starter_source_gives_linked_twins():
    rows = list(StarterSource(load_taxonomy()).rows())
    assert len(rows) == 4 * len(starter())
    check_samples(rows, "starter")
    by_id = {row.id: row for row in rows}
    for row in rows:
        twin = by_id[row.pair]
        assert twin.pair == row.id and {row.role, twin.role} == {"risky", "counter"}
        assert row.prompt.lang == twin.prompt.lang and row.prompt.meta["cluster"] == twin.prompt.meta["cluster"]


# ------------------------------------------------------------------------------------------------------ public sets


def check_samples(rows: list, source: str) -> None:
    """What holds for the rows of every source."""
    samples = [row for row in rows if isinstance(row, Sample)]
    assert [row for row in rows if isinstance(row, Rejected)] == []
    assert len({sample.id for sample in samples}) == len(samples)
    known = {category.id for category in load_taxonomy().categories}
    for sample in samples:
        prompt = sample.prompt
        assert prompt.id == sample.id and prompt.licence and prompt.source
        assert prompt.messages[-1].role == "user" and prompt.messages[-1].content.strip()
        assert prompt.risk is None or (prompt.risk in known and sample.role == "risky")
        assert (prompt.expect in ("refuse", "either")) == (sample.role == "risky")
        assert (prompt.target is not None) == (prompt.expect in ("choose", "solve"))
        assert prompt.meta["cluster"]
        assert bool(sample.answer) == bool(sample.made_by) and (sample.answer or not sample.thought), source


@pytest.mark.parametrize("name", list(COUNTS))
def test_public_sets_have_every_row_twice_the_same(name):
    if not DATA.is_dir():
        pytest.skip("SAFEKEEL_DATA is not set")
    source = open_set(name, DATA, allow_licence=("ceval", "cmmlu"))
    rows = list(source.rows())
    check_samples(rows, name)
    assert Counter((row.role, row.prompt.lang) for row in rows) == COUNTS[name]
    assert rows == list(open_set(name, DATA, allow_licence=("ceval", "cmmlu")).rows())
    assert {row.prompt.licence for row in rows} == {find_set(name).licence}
    overridden = any("training was allowed by the user" in text for text in source.warnings)
    assert overridden == (not find_set(name).training_allowed)


def test_star1_keeps_its_thoughts_and_its_subjects():
    if not DATA.is_dir():
        pytest.skip("SAFEKEEL_DATA is not set")
    rows = list(open_set("star1", DATA).rows())
    assert all(row.thought and row.answer and "<think>" not in row.thought + row.answer for row in rows)
    assert all(row.prompt.meta["subject"] for row in rows)
    assert Counter(row.prompt.risk for row in rows) == {
        "A.4.f": 213,
        None: 158,
        "A.3.a": 153,
        "A.1.h": 152,
        "A.1.f": 124,
        "A.1.g": 124,
        "A.4.a": 76,
    }


def test_test_items_are_never_read():
    """The training files of a capability set are named one by one: no loader matches a test or validation file."""
    for name, loader in LOADERS.items():
        data_set = find_set(name)
        used = [file.file for file in data_set.files if file.file.startswith(loader.files)]
        assert used and not any("test" in file or "val" in file for file in used), name


def test_a_benchmark_that_is_given_up_comes_with_its_licence_and_a_warning():
    if not DATA.is_dir():
        pytest.skip("SAFEKEEL_DATA is not set")
    config = SourcesConfig(
        starter=False,
        sets=("physical-safety",),
        allow_licence=("physical-safety",),
        allow_benchmarks=("physical-safety",),
    )
    (source,) = open_sources(config, DATA, load_taxonomy())
    rows = list(source.rows())
    check_samples(rows, "physical-safety")
    assert Counter(row.role for row in rows) == {"risky": 100, "counter": 100}
    assert any("physical-safety measures nothing" in text for text in source.warnings)
    assert not source.training_allowed
