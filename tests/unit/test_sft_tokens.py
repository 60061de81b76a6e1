"""From samples to documents: nothing of the prompt is learnt, the whole thought is, and nothing is ever cut."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the train extra")

from safekeel.chat import completion_text, load_tokenizer, render_prompt
from safekeel.corpus.nano_source import paired_requests, safety_samples
from safekeel.errors import DataError
from safekeel.nano.model import shipped_checkpoint
from safekeel.nano.words import load_words
from safekeel.train.sft_data import as_dataset, prepare, set_apart

SAMPLES = safety_samples(paired_requests(load_words(), "sft", 20, 0.5, random.Random(0)))


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(shipped_checkpoint())


def test_labels_decode_to_thought_answer_and_eos_and_ids_to_the_generation_prompt(tokenizer) -> None:
    prepared = prepare(tokenizer, SAMPLES, 512)
    for row, sample in zip(prepared.documents, SAMPLES, strict=True):
        learnt = [token for token in row.labels if token != -100]
        assert tokenizer.decode(learnt) == completion_text(sample.thought, sample.answer) + tokenizer.eos_token
        given = row.input_ids[: len(row.input_ids) - len(learnt)]
        prompt = tokenizer.decode(given)
        assert prompt == render_prompt(tokenizer, sample.prompt.messages) and prompt.endswith(
            "<｜Assistant｜><think>\n"
        )
        assert given.count(tokenizer.bos_token_id) == 1
        assert row.labels[: len(given)] == [-100] * len(given)
    assert prepared.num_tokens == sum(len(row.input_ids) for row in prepared.documents) > prepared.num_labelled > 0
    assert as_dataset(prepared.documents).column_names == ["input_ids", "labels"]


def test_words_of_a_refusal_are_whole_tokens(tokenizer) -> None:
    """Risk names must be the same tokens in thought and answer: otherwise the answer cannot copy them."""
    sample = next(s for s in SAMPLES if s.role == "risky" and s.prompt.lang == "zh")
    ids = tokenizer(sample.thought, add_special_tokens=False)["input_ids"]
    answer = tokenizer(sample.answer, add_special_tokens=False)["input_ids"]
    name = sample.thought.split("风险：")[1].split("，")[0]
    colon_name = tokenizer(f"：{name}", add_special_tokens=False)["input_ids"]
    contains = lambda whole: any(whole[i : i + len(colon_name)] == colon_name for i in range(len(whole)))  # noqa: E731
    assert contains(ids) and contains(answer)


def test_weights_and_marks_stand_beside_the_labels(tokenizer) -> None:
    samples = [*SAMPLES[:4], SAMPLES[0].model_copy(update={"id": "r", "role": "replay"})]
    prepared = prepare(tokenizer, samples, 512, key_weight=2.5, anchored=True)
    assert [row.anchored for row in prepared.documents] == [False] * 4 + [True]
    assert prepared.num_key_sentences == sum(sample.role == "risky" for sample in samples) > 0
    for row, sample in zip(prepared.documents, samples, strict=True):
        assert row.weights is not None and len(row.weights) == len(row.labels)
        heavy = [label for label, weight in zip(row.labels, row.weights, strict=True) if weight != 1.0]
        assert -100 not in heavy and bool(heavy) == (sample.role == "risky")
    assert set(as_dataset(prepared.documents).column_names) == {"input_ids", "labels", "weights", "anchored"}


def test_a_sample_that_is_too_long_is_listed_and_never_cut(tokenizer, tmp_path: Path) -> None:
    lengths = sorted(len(row.input_ids) for row in prepare(tokenizer, SAMPLES, 512).documents)
    limit = lengths[len(lengths) // 2]
    prepared = prepare(tokenizer, SAMPLES, limit)
    over = sum(length > limit for length in lengths)
    with pytest.raises(DataError, match=rf"{over} of {len(SAMPLES)} samples.*sft.max_length.*none is ever cut"):
        set_apart(prepared, tmp_path, drop=False)
    rows = [json.loads(line) for line in (tmp_path / "too_long.jsonl").read_text("utf-8").splitlines()]
    assert len(rows) == over and all(row["num_tokens"] > row["limit"] == limit for row in rows)
    assert {row["id"] for row in rows} < {sample.id for sample in SAMPLES}
    assert f"{over} of {len(SAMPLES)}" in set_apart(prepared, tmp_path, drop=True)[0]
    assert max(len(row.input_ids) for row in prepared.documents) <= limit
    with pytest.raises(DataError, match="nothing is left to train on"):
        set_apart(prepare(tokenizer, SAMPLES, 16), tmp_path, drop=True)  # nothing would be left
    assert set_apart(prepare(tokenizer, SAMPLES, 512), tmp_path, drop=False) == []
    assert (tmp_path / "too_long.jsonl").read_text("utf-8") == ""


def test_what_cannot_be_trained_on_is_named(tokenizer) -> None:
    with pytest.raises(DataError, match="no samples"):
        prepare(tokenizer, [], 512)
    empty = SAMPLES[1].model_copy(update={"answer": " "})
    with pytest.raises(DataError, match=f"sample {empty.id}: The answer is empty"):
        prepare(tokenizer, [SAMPLES[0], empty], 512)
