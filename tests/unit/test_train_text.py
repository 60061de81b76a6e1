"""Reasoning survives: what is trained is what generation would be given and would write, under every known template."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("transformers", reason="needs the train extra")

from safekeel.chat import (
    CLOSE,
    completion_text,
    load_tokenizer,
    render_prompt,
    split_completion,
    think_state,
    training_text,
)
from safekeel.corpus.export.conversation import rendered
from safekeel.corpus.sample import Sample
from safekeel.corpus.tokens import CountedTokens
from safekeel.errors import DataError
from safekeel.nano.model import shipped_checkpoint
from safekeel.records import Message, Prompt
from safekeel.train.text import IGNORED, check_trainable, encode, labels

DATA = Path(os.environ.get("SAFEKEEL_DATA", "nowhere")) / "tokenizers"
needs_templates = pytest.mark.skipif("SAFEKEEL_DATA" not in os.environ, reason="needs SAFEKEEL_DATA (tokenizers)")
THOUGHT = "用户想知道 3 + 4。\n\nRisk: none, so I add:  3+4=7 （「</think>」 is only a word here）."
ANSWER = "The answer is **7**。\n"
HISTORY = (
    Message(role="system", content="Be careful."),
    Message(role="user", content="先说一"),
    Message(role="assistant", content="<think>\nold thought\n</think>\n\n一"),
    Message(role="user", content="What is <think>3 + 4</think>?"),
)
# Template -> the end of the prompt that is trained on, the opening that the completion needs, and whether it has BOS.
R1_OPEN, R1_ABSENT, IM = "<｜Assistant｜><think>\n", "<｜Assistant｜>", "<|im_start|>assistant\n"
GOLDEN = {
    "own (R1-Distill-Qwen, January 2025)": (R1_ABSENT, "<think>\n", True),
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": (R1_OPEN, "", True),
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B": (R1_OPEN, "", True),
    "deepseek-ai-DeepSeek-V3.1": (R1_OPEN, "", True),
    "llama-cpp-deepseek-r1": (R1_OPEN, "", True),
    "Qwen-Qwen3-0.6B": (IM, "<think>\n", False),
    "Qwen3.5-4B": (f"{IM}<think>\n", "", False),
    "Qwen-QwQ-32B": (f"{IM}<think>\n", "", False),
}


def sample(thought: str, answer: str, messages: tuple[Message, ...] = HISTORY) -> Sample:
    prompt = Prompt(
        id="x", messages=messages, lang="zh", risk=None, expect="answer", target=None, source="test", licence="MIT"
    )
    return Sample(id="x", role="general", prompt=prompt, thought=thought, answer=answer)


@pytest.fixture(scope="module")
def nano():
    return load_tokenizer(shipped_checkpoint())


@pytest.fixture(scope="module")
def real():
    return load_tokenizer(DATA / "r1-distill-qwen-reconstructed")


@needs_templates
@pytest.mark.parametrize("template", GOLDEN)
def test_reasoning_survives(real, template: str) -> None:
    ending, opening, has_bos = GOLDEN[template]
    before = real.chat_template
    try:
        if not template.startswith("own"):
            real.chat_template = (DATA / "templates" / f"{template}.jinja").read_text("utf-8")
        encoded = encode(real, HISTORY, THOUGHT, ANSWER)
        learnt = [token for token in labels(encoded) if token != IGNORED]
        assert real.decode(learnt) == f"{opening}{THOUGHT}\n</think>\n\n{ANSWER}{real.eos_token}"
        assert labels(encoded) == [IGNORED] * len(encoded.prompt_ids) + encoded.completion_ids
        given_text = real.decode(encoded.prompt_ids)
        assert given_text.endswith(ending) and "old thought" not in given_text
        assert encoded.prompt_ids.count(real.bos_token_id) == has_bos == encoded.prompt_ids[:1].count(real.bos_token_id)
        assert encoded.completion_ids.count(real.eos_token_id) == 1 and encoded.completion_ids[-1] == real.eos_token_id
        assert learnt.count(real.convert_tokens_to_ids(CLOSE)) == 2  # the one that closes, and the quoted one
        # What the trained model writes is split back into the same two parts.
        split = split_completion(real.decode(learnt[:-1]), "stop", think_state(given_text) == "open")
        assert (split.thought, split.answer) == (THOUGHT, ANSWER.strip())
    finally:
        real.chat_template = before


@needs_templates
@pytest.mark.parametrize("template", GOLDEN)
def test_exporters_and_token_counts_agree(real, template: str) -> None:
    before = real.chat_template
    row = sample(THOUGHT, ANSWER, (HISTORY[0], HISTORY[1]))
    try:
        if not template.startswith("own"):
            real.chat_template = (DATA / "templates" / f"{template}.jinja").read_text("utf-8")
        prompt, completion = training_text(real, row.prompt.messages, THOUGHT, ANSWER)
        given_text, written = rendered(real, row)  # which leaves BOS to a tokenizer that adds one
        assert given_text.removeprefix(real.bos_token) == prompt.removeprefix(real.bos_token)
        assert written == completion + real.eos_token
        encoded = encode(real, row.prompt, THOUGHT, ANSWER)
        assert CountedTokens(real)(row) == len(encoded.prompt_ids) + len(encoded.completion_ids)
        closed = think_state(render_prompt(real, row.prompt.messages)) == "closed"
        assert [("--think forced" in note) for note in check_trainable(real)] == [True] * closed
    finally:
        real.chat_template = before


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=40), st.text(min_size=1, max_size=40).filter(str.strip), st.text(max_size=40))
def test_labels_decode_to_the_completion_whatever_the_text(nano, thought: str, answer: str, user: str) -> None:
    encoded = encode(nano, (Message(role="user", content=user),), thought, answer)
    text = nano.decode(encoded.completion_ids[:-1], clean_up_tokenization_spaces=False)
    written = nano.decode(nano(completion_text(thought, answer), add_special_tokens=False)["input_ids"])
    assert text == written and encoded.completion_ids[-1] == nano.eos_token_id
    assert len(labels(encoded)) == len(encoded.prompt_ids) + len(encoded.completion_ids)
    assert encoded.prompt_ids[0] == nano.bos_token_id


def broken(nano, **changes):
    tokenizer = load_tokenizer(shipped_checkpoint())
    for name, value in changes.items():
        setattr(tokenizer, name, value)
    return tokenizer


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (None, "no chat template"),
        ("{{ bos_token }}fixed words", "no known form"),
        ("{% for m in messages %}{{ m['content'] }}{% endfor %}", "no known form"),
        ("BEGIN UNSAFE CONTENT CATEGORIES {% for m in messages %}{{ m['content'] }}{% endfor %}", "no known form"),
        ("{{ raise_exception('no') }}", r"cannot render one user message \(TemplateError: no\)"),
        ("{% for m in messages %}{{ m", "cannot render one user message"),
    ],
)
def test_a_template_that_cannot_be_trained_on_is_refused(nano, template: str | None, said: str) -> None:
    with pytest.raises(DataError, match=said):
        check_trainable(broken(nano, chat_template=template))


def test_a_tokenizer_without_think_tokens_or_eos_is_refused(nano, tmp_path: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    assert check_trainable(nano) == []
    with pytest.raises(DataError, match="no EOS"):
        check_trainable(broken(nano, eos_token=None))
    text = (shipped_checkpoint() / "tokenizer.json").read_text("utf-8").replace("</think>", "</thinks>")
    (tmp_path / "tokenizer.json").write_text(text, "utf-8")
    bare = PreTrainedTokenizerFast(
        tokenizer_file=str(tmp_path / "tokenizer.json"), eos_token=nano.eos_token, bos_token=nano.bos_token
    )
    bare.chat_template = nano.chat_template
    with pytest.raises(DataError, match=r"lacks the token </think>.*no reasoning model"):
        check_trainable(bare)


def test_an_empty_answer_is_refused(nano) -> None:
    with pytest.raises(DataError, match="say nothing"):
        encode(nano, HISTORY, "t", " \n")
