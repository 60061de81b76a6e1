"""SFT trains on exactly what generation would produce: nothing of the prompt, the whole thought, the answer, EOS."""

from __future__ import annotations

import random

import pytest

pytest.importorskip("torch", reason="needs the train extra")

from safekeel.chat import completion_text, load_tokenizer, render_prompt
from safekeel.corpus.nano_source import paired_requests, safety_samples
from safekeel.errors import DataError
from safekeel.nano.model import shipped_checkpoint
from safekeel.nano.words import load_words
from safekeel.train.sft import tokenised

SAMPLES = safety_samples(paired_requests(load_words(), "sft", 20, 0.5, random.Random(0)))


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(shipped_checkpoint())


def test_labels_decode_to_thought_answer_and_eos_and_ids_to_the_generation_prompt(tokenizer) -> None:
    for row, sample in zip(tokenised(tokenizer, SAMPLES, 512), SAMPLES, strict=True):
        learnt = [token for token in row["labels"] if token != -100]
        assert tokenizer.decode(learnt) == completion_text(sample.thought, sample.answer) + tokenizer.eos_token
        given = row["input_ids"][: len(row["input_ids"]) - len(learnt)]
        prompt = tokenizer.decode(given)
        assert prompt == render_prompt(tokenizer, sample.prompt.messages) and prompt.endswith(
            "<｜Assistant｜><think>\n"
        )
        assert given.count(tokenizer.bos_token_id) == 1
        assert row["labels"][: len(given)] == [-100] * len(given)


def test_words_of_a_refusal_are_whole_tokens(tokenizer) -> None:
    """Risk names must be the same tokens in thought and answer: otherwise the answer cannot copy them."""
    sample = next(s for s in SAMPLES if s.role == "risky" and s.prompt.lang == "zh")
    ids = tokenizer(sample.thought, add_special_tokens=False)["input_ids"]
    answer = tokenizer(sample.answer, add_special_tokens=False)["input_ids"]
    name = sample.thought.split("风险：")[1].split("，")[0]
    colon_name = tokenizer(f"：{name}", add_special_tokens=False)["input_ids"]
    contains = lambda whole: any(whole[i : i + len(colon_name)] == colon_name for i in range(len(whole)))  # noqa: E731
    assert contains(ids) and contains(answer)


def test_a_sample_that_is_too_long_is_named_not_cut(tokenizer) -> None:
    with pytest.raises(DataError, match=f"{SAMPLES[0].id}.*max_length"):
        tokenised(tokenizer, SAMPLES[:1], 20)
    with pytest.raises(DataError, match="no samples"):
        tokenised(tokenizer, [], 512)
