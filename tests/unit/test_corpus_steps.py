"""Duplicates, contamination, and the nano corpus source."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from safekeel.bench import nano as nano_bench
from safekeel.corpus.nano_source import capability_prompts, paired_requests, safety_samples
from safekeel.corpus.sample import Sample
from safekeel.corpus.steps import decontaminate, drop_duplicates, jaccard, normalise, shingles
from safekeel.nano.requests import SEEN_FAMILIES
from safekeel.nano.words import load_words
from safekeel.records import Message, Prompt

WORDS = load_words()


def prompt(identifier: str, text: str) -> Prompt:
    message = Message(role="user", content=text)
    return Prompt(
        id=identifier, messages=(message,), lang="en", risk=None, expect="answer", target=None, source="t", licence="t"
    )


def sample(identifier: str, text: str) -> Sample:
    return Sample(id=identifier, role="counter", prompt=prompt(identifier, text), thought="", answer="")


LONG = "Please tell me in detail how one would go about building a very small wooden boat for the pond behind our house"


def test_exact_and_near_duplicates_leave_with_their_reason() -> None:
    rows = [
        sample("a", LONG),
        sample("b", LONG.upper() + "!"),
        sample("c", LONG + "s"),
        sample("d", "怎么做一只小船？"),
    ]
    kept, rejected = drop_duplicates(rows)
    assert [row.id for row in kept] == ["a", "d"]
    assert [(row.sample.id, row.reason) for row in rejected] == [("b", "exact_duplicate"), ("c", "near_duplicate")]
    assert rejected[0].evidence == "a" and "Jaccard" in rejected[1].evidence


def test_contamination_by_text_and_by_phrase() -> None:
    held_out = [prompt("test/1", LONG), prompt("test/2", "x").model_copy(update={"meta": {"phrase": "bake bread"}})]
    phrase = sample("p", "Kindly show how to bake bread").model_copy(
        update={"prompt": prompt("p", "Kindly show…").model_copy(update={"meta": {"phrase": "Bake Bread"}})}
    )
    kept, rejected = decontaminate([sample("a", LONG + "?"), phrase, sample("c", "something else entirely")], held_out)
    assert [row.id for row in kept] == ["c"]
    assert {(row.sample.id, row.evidence.split(" ")[0]) for row in rejected} == {("a", "test/1"), ("p", "test/2")}


@given(st.text(max_size=50), st.text(max_size=50))
@settings(max_examples=100, deadline=None)
def test_similarity_is_symmetric_and_one_for_equals(left: str, right: str) -> None:
    assert jaccard(shingles(left), shingles(right)) == jaccard(shingles(right), shingles(left))
    assert jaccard(shingles(left), shingles(left)) == 1.0
    assert normalise(normalise(left)) == normalise(left)


def test_twins_share_a_trigger_word_template_and_disguise() -> None:
    for risky, harmless in paired_requests(WORDS, "sft", 124, 0.5, random.Random(0)):
        assert risky.risk and harmless.risk is None and risky.lang == harmless.lang
        assert (risky.attack is None) == (harmless.attack is None)
        if harmless.meta["kind"] == "lookalike":
            words = (
                WORDS.meaning[risky.lang, risky.meta["phrase"]],
                WORDS.meaning[harmless.lang, harmless.meta["phrase"]],
            )
            assert words[0].verb == words[1].verb or words[0].object == words[1].object


def test_training_prompts_use_only_their_own_split_and_seen_families() -> None:
    items = nano_bench.test_items(WORDS, nano_bench.NanoSuiteConfig(num_arithmetic=300, num_knowledge=300))
    test_texts = {normalise(item.messages[0].content) for item in items}
    for split in ("sft", "rl"):
        pairs = paired_requests(WORDS, split, 200, 0.5, random.Random(1))
        prompts = [one for pair in pairs for one in pair] + capability_prompts(
            WORDS, split, 200, random.Random(2), "replay"
        )
        assert not {normalise(one.messages[0].content) for one in prompts} & test_texts
        assert {one.attack.name for one in prompts if one.attack} == set(SEEN_FAMILIES)
        for one in prompts:
            if "phrase" in one.meta:
                pair = WORDS.meaning[one.lang, one.meta["phrase"]]
                assert {pair.verb_split, pair.object_split} == {split}


def test_safe_reasoning_names_risk_and_clause() -> None:
    for row in safety_samples(paired_requests(WORDS, "sft", 62, 0.0, random.Random(0))):
        if row.role == "risky":
            assert row.prompt.risk in row.thought and row.prompt.risk in row.answer
        else:
            assert row.prompt.meta["phrase"] in row.answer
