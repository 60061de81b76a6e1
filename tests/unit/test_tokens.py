"""Token counts are those of training; the estimate is as good as it says."""

from __future__ import annotations

import json
import os
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safekeel.chat import completion_ids, load_tokenizer, prompt_ids, render_prompt
from safekeel.corpus.sample import Sample
from safekeel.corpus.tokens import BATCH, CountedTokens, EstimatedTokens, count_all, token_counter
from safekeel.errors import DataError
from safekeel.nano.model import shipped_checkpoint
from safekeel.records import Message, Prompt


def sample(user: str, thought: str, answer: str, *before: Message) -> Sample:
    prompt = Prompt(
        id="x",
        messages=(*before, Message(role="user", content=user)),
        lang="zh",
        risk=None,
        expect="answer",
        target=None,
        source="test",
        licence="Apache-2.0",
    )
    return Sample(id="x", role="general", prompt=prompt, thought=thought, answer=answer)


@pytest.fixture(scope="module")
def counter():
    pytest.importorskip("transformers", reason="needs the train extra")
    return token_counter(shipped_checkpoint())


def trained_on(tokenizer, row: Sample) -> int:
    """What `train/sft.py` puts into `input_ids`."""
    given_ids = prompt_ids(tokenizer, render_prompt(tokenizer, row.prompt.messages))
    return len(given_ids) + len(completion_ids(tokenizer, row.thought, row.answer))


texts = st.text(alphabet="安全 \na1.</think>", max_size=30)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(texts, texts, texts), min_size=1, max_size=5))
def test_counts_are_the_tokens_of_training(counter, rows) -> None:
    before = (Message(role="system", content="小心"), Message(role="user", content="a"))
    earlier = (*before, Message(role="assistant", content="b"))
    samples = [sample(*row) for row in rows] + [sample(*row, *earlier) for row in rows]
    expected = [trained_on(counter.tokenizer, row) for row in samples]
    assert counter.count(samples) == expected == count_all(samples, counter)
    assert [counter(row) for row in samples] == expected


def test_batches_keep_the_order(counter) -> None:
    samples = [sample("问", "想" * (number % 7), "答") for number in range(BATCH + 3)]
    assert counter.count(samples) == [counter(row) for row in samples]


def test_a_plain_function_counts_too() -> None:
    assert count_all([sample("a", "b", "cd")], lambda row: len(row.answer)) == [2]


def test_estimate_by_hand() -> None:
    row = sample("安" * 151, "a" * 482, "")
    assert EstimatedTokens()(row) == 9 + 100 + 100
    earlier = (Message(role="user", content="a" * 482), Message(role="assistant", content=""))
    assert EstimatedTokens()(sample("安" * 151, "a" * 482, "", *earlier)) == 9 + 2 + 300
    assert "1.51 Chinese" in token_counter().method


@pytest.mark.skipif("SAFEKEEL_DATA" not in os.environ, reason="needs SAFEKEEL_DATA (alpaca demos, tokenizers)")
def test_estimate_is_close_on_the_rows_it_was_measured_on() -> None:
    data = Path(os.environ["SAFEKEEL_DATA"])
    tokenizer = load_tokenizer(data / "tokenizers/r1-distill-qwen-reconstructed")
    template = resources.files("safekeel.data") / "templates/deepseek_r1_distill_qwen.jinja"
    tokenizer.chat_template = template.read_text("utf-8")
    for lang in ("zh", "en"):
        rows = json.loads((data / f"alpaca_demo/alpaca_{lang}_demo.json").read_text("utf-8"))
        samples = [sample(f"{row['instruction']}\n{row['input']}".strip(), "好", row["output"]) for row in rows]
        counted, estimated = (sum(each.count(samples)) for each in (CountedTokens(tokenizer), EstimatedTokens()))
        assert abs(estimated / counted - 1) < 0.01


def test_a_folder_without_a_tokenizer_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no tokenizer\.json"):
        token_counter(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match="cannot be loaded"):
        token_counter(tmp_path)
