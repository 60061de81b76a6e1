"""The nano world: words and splits do not leak, every sentence form reads back to its meaning, problems are right."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safekeel.attacks import ATTACKS
from safekeel.bench import nano as nano_bench
from safekeel.errors import DataError
from safekeel.nano import arithmetic, knowledge, language, world
from safekeel.nano.pretraining import PretrainingWriter, risk_choice
from safekeel.nano.requests import NANO_FAMILIES, SEEN_FAMILIES, UNSEEN_FAMILIES, pool, pretraining_pool, say
from safekeel.nano.words import LANGS, WORD_SPLITS, load_words
from safekeel.taxonomy import load_taxonomy

WORDS = load_words()


def test_every_category_of_the_taxonomy_has_words_in_every_split_and_language() -> None:
    assert set(WORDS.categories()) == set(load_taxonomy().subset("31"))
    for split in WORD_SPLITS:
        for lang in LANGS:
            assert {pair.home for pair in pool(WORDS, split, "risky", lang)} == set(WORDS.categories())


def test_risk_is_a_property_of_the_pair_and_of_no_single_word() -> None:
    """Every risky verb also occurs in harmless pairs, and every sensitive object too: no word is a marker."""
    for lang in LANGS:
        for split in WORD_SPLITS:
            risky, lookalike = pool(WORDS, split, "risky", lang), pool(WORDS, split, "lookalike", lang)
            harmless_words = {word for pair in lookalike for word in (pair.verb, pair.object)}
            assert {word for pair in risky for word in (pair.verb, pair.object)} <= harmless_words


def test_safety_stages_share_no_word_with_test() -> None:
    for lang in LANGS:
        used = {split: set() for split in WORD_SPLITS}
        for split in WORD_SPLITS:
            for kind in ("risky", "lookalike", "ordinary"):
                used[split] |= {
                    word for pair in pool(WORDS, split, kind, lang) for word in (pair.verb, pair.object) if word
                }
        for split in ("sft", "rl", "validation"):
            assert not used[split] & used["test"]


def test_base_pretraining_knows_every_word_but_no_held_out_pair() -> None:
    for lang in LANGS:
        for kind in ("risky", "lookalike"):
            seen = {(pair.verb, pair.object) for pair in pretraining_pool(WORDS, kind, lang)}
            for split in ("validation", "test"):
                held_out = {(pair.verb, pair.object) for pair in pool(WORDS, split, kind, lang)}
                assert not held_out & seen
                assert {word for pair in held_out for word in pair} <= {word for pair in seen for word in pair}


def test_pretraining_documents_contain_no_test_item() -> None:
    items = nano_bench.test_items(WORDS, nano_bench.NanoSuiteConfig(num_arithmetic=300, num_knowledge=300))
    held_out = {prompt.messages[0].content for prompt in items if not prompt.id.startswith("nano-answer")}
    ordinary = {prompt.messages[0].content for prompt in items if prompt.meta.get("kind") == "ordinary"}
    writer = PretrainingWriter(WORDS, seed=0)
    assert not {writer.document().prompt for _ in range(20_000)} & (held_out - ordinary)


@pytest.mark.parametrize("lang", LANGS)
@pytest.mark.parametrize("split", WORD_SPLITS)
def test_every_form_of_thought_and_answer_parses_to_its_meaning(lang: str, split: str) -> None:
    for kind in ("risky", "lookalike", "ordinary"):
        for pair in pool(WORDS, split, kind, lang):
            base = language.parse_thought(language.base_thought(pair.phrase, lang))
            assert base == language.ThoughtMeaning(pair.phrase, "", True)
            safe = language.parse_thought(language.safe_thought(pair.phrase, pair.risk, lang))
            assert safe == language.ThoughtMeaning(pair.phrase, language.risk_name(pair.risk, lang), pair.risk is None)
            assert language.parse_answer(language.help_answer(pair.phrase, lang)).helps_with == pair.phrase
            if pair.risk:
                refused = language.parse_answer(language.refusal(pair.risk, lang))
                assert (refused.refuses, refused.direction) == (language.risk_name(pair.risk, lang), True)


def options_of(question: str) -> dict[str, str]:
    return {line[0]: line[1:].lstrip(".： ") for line in question.splitlines()[-4:]}


@given(st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_arbitrary_text_is_garbled_not_a_defence(text: str) -> None:
    assert language.parse_answer(text) is None
    assert language.parse_thought(text) is None


@given(st.integers(0, 10_000), st.sampled_from(["train", "validation", "test"]))
@settings(max_examples=150, deadline=None)
def test_arithmetic_steps_are_right_and_splits_hold(seed: int, split: str) -> None:
    problem = arithmetic.draw(random.Random(seed), split)
    for step in problem.steps.rstrip(".").split(". "):
        left, right = step.split("=")
        assert eval(left) == int(right)
    assert problem.target == problem.steps.rstrip(".").split("=")[-1]
    assert problem.split == split


@given(st.integers(0, 10_000))
@settings(max_examples=100, deadline=None)
def test_knowledge_target_is_the_letter_of_the_right_option(seed: int) -> None:
    problem = knowledge.draw(random.Random(seed), "test")
    assert f"{options_of(problem.question)[problem.target]} ({problem.target})" in problem.steps


@given(st.integers(0, 10_000))
@settings(max_examples=100, deadline=None)
def test_risk_choice_offers_the_right_risk_once_and_always_none(seed: int) -> None:
    rng = random.Random(seed)
    pair = rng.choice(pool(WORDS, "test", rng.choice(["risky", "lookalike"]), rng.choice(LANGS)))
    question, _, letter = risk_choice(pair, "…", rng, WORDS.categories())
    options = options_of(question)
    assert len(set(options.values())) == 4
    assert options[letter] == language.risk_name(pair.risk, pair.lang)
    assert language.NO_RISK[pair.lang] in options.values()


def test_test_items_are_balanced_unique_and_reproducible() -> None:
    config = nano_bench.NanoSuiteConfig(num_arithmetic=20, num_knowledge=20)
    items = nano_bench.test_items(WORDS, config)
    assert items == nano_bench.test_items(WORDS, config)
    assert len({item.id for item in items}) == len(items)
    refuse = [item for item in items if item.id.startswith("nano-refuse/")]
    counts = {(item.lang, item.risk): 0 for item in refuse}
    for item in refuse:
        counts[item.lang, item.risk] += 1
    assert len(counts) == 62 and set(counts.values()) == {2}


def test_growing_one_item_set_leaves_the_others_alone() -> None:
    small = {
        p.id: p for p in nano_bench.test_items(WORDS, nano_bench.NanoSuiteConfig(num_arithmetic=10, num_knowledge=10))
    }
    large = {
        p.id: p for p in nano_bench.test_items(WORDS, nano_bench.NanoSuiteConfig(num_arithmetic=30, num_knowledge=10))
    }
    assert set(small) <= set(large) and all(large[key] == item for key, item in small.items())


def test_selection_uses_no_unseen_family_and_no_test_word() -> None:
    items = nano_bench.selection_items(WORDS, 62, 62, 20, 10, 0)
    families = {item.attack.name for item in items if item.attack}
    assert families == set(SEEN_FAMILIES) and not families & set(UNSEEN_FAMILIES)
    assert all(item.meta["split"] != "test" for item in items)
    assert set(NANO_FAMILIES) <= set(ATTACKS.names())


def test_no_prompt_text_betrays_the_label() -> None:
    """The same templates and wordings dress risky and harmless requests: stripping the phrase leaves no difference."""
    frames: dict[bool, set[str]] = {True: set(), False: set()}
    for lang in LANGS:
        for kind in ("risky", "lookalike"):
            for pair in pool(WORDS, "test", kind, lang)[:40]:
                for template in language.REQUESTS[lang]["test"]:
                    frames[kind == "risky"].add(say(pair, template).text.replace(pair.phrase, "_"))
    assert frames[True] == frames[False]


def test_another_test_word_list_is_read_and_a_leaking_one_refused(tmp_path) -> None:
    from importlib import resources

    source = (resources.files("safekeel.nano") / "words/test.toml").read_text("utf-8")
    verb = WORDS.tables["test"]["A.1.f"]["en"]["verbs"][0]
    other = tmp_path / "words.toml"
    other.write_text(source.replace(f'"{verb}"', '"xyzzy"'), "utf-8")
    assert "xyzzy" in load_words(other).tables["test"]["A.1.f"]["en"]["verbs"]
    leaked = WORDS.tables["sft"]["A.1.f"]["en"]["verbs"][0]
    other.write_text(source.replace(f'"{verb}"', f'"{leaked}"'), "utf-8")
    with pytest.raises(DataError, match="word lists of sft and test"):
        load_words(other)
    other.write_text("[broken", "utf-8")
    with pytest.raises(DataError, match=r"words\.toml"):
        load_words(other)


def test_problem_items_do_not_repeat() -> None:
    items = world.problem_items("arithmetic", "test", 200, 0)
    assert len({item.messages[0].content for item in items}) == 200
