"""The splitter on every shape a completion can take, templates with the three endings, and reasoning that survives."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from importlib import resources
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from safekeel.chat import (
    Split,
    can_think,
    check_round_trip,
    completion_ids,
    completion_text,
    load_tokenizer,
    prompt_ids,
    render_prompt,
    split_completion,
    think_state,
)
from safekeel.errors import DataError, EngineError
from safekeel.records import Message

TEMPLATES = Path(__file__).parents[1] / "data/templates"
PRODUCT = Path(str(resources.files("safekeel"))) / "data/templates/deepseek_r1_distill_qwen.jinja"
ENDINGS = {  # template -> what its generation prompt ends with
    PRODUCT: "<｜Assistant｜><think>\n",
    TEMPLATES / "deepseek-ai-DeepSeek-R1-Distill-Llama-8B.jinja": "<｜Assistant｜><think>\n",
    TEMPLATES / "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B.jinja": "<｜Assistant｜><think>\n</think>",
    TEMPLATES / "deepseek-ai-DeepSeek-V3.1.jinja": "<｜Assistant｜><think></think>",
    TEMPLATES / "deepseek-r1-distill-qwen-32b-2025-01.jinja": "<｜Assistant｜>",
}
THOUGHT, ANSWER = "用户问 23*4。\nFirst 20*4 = 80,  then 12.", "答案是 92.\n\nThe answer is 92."
QUESTION = (Message(role="user", content="23*4 是多少？"),)


# --- the splitter -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "finish", "prefilled", "expected"),
    [
        # The table of reference/eval-peers.md section 1.13, where six general harnesses grade the wrong text.
        ("<think>R</think>A", "stop", False, Split("R", "A", "closed")),
        ("R</think>A", "stop", True, Split("R", "A", "prefilled")),
        ("<think>R R", "length", False, Split("R R", "", "truncated")),
        ("R R", "length", True, Split("R R", "", "truncated")),
        ("<think>R</think>The tag </think> B", "stop", False, Split("R", "The tag </think> B", "closed")),
        ("A", "stop", False, Split(None, "A", "none")),
        # A thought that is not closed is no answer even where the model ended by itself.
        ("<think>R R", "stop", False, Split("R R", "", "truncated")),
        ("R R", "stop", True, Split("R R", "", "truncated")),
        ("", "stop", True, Split("", "", "truncated")),
        # Without tags, a text that was cut off may be all thought.
        ("R R", "length", False, Split("R R", "", "truncated")),
        # The opening tag may be in neither, or in both.
        ("R</think>A", "stop", False, Split("R", "A", "prefilled")),
        ("<think>\nR</think>A", "stop", True, Split("R", "A", "prefilled")),
        ("\n</think>\n\nA", "stop", True, Split("", "A", "prefilled")),
        ("<think>\n\n</think>\n\nA", "stop", False, Split("", "A", "closed")),
        ("<think>R</think>\n\n", "stop", False, Split("R", "", "empty_answer")),
        ("R</think>", "length", True, Split("R", "", "empty_answer")),
        (" \n", "stop", False, Split(None, "", "empty_answer")),
        # An answer that was cut off is still the answer; `finish` says so.
        ("<think>R</think>A and", "length", False, Split("R", "A and", "closed")),
        # Several blocks: what lies between them is shown to a user, so it is judged with the answer.
        ("<think>R</think><think>S</think>A", "stop", False, Split("R\nS", "A", "multiple")),
        ("R</think>A<think>S</think>B", "stop", True, Split("R\nS", "A\nB", "multiple")),
        ("A<think>R</think>B", "stop", False, Split("R", "A\nB", "closed")),
        ("<think>R</think><think>S</think>", "stop", False, Split("R\nS", "", "empty_answer")),
        ("<think>R</think>A<think>S", "stop", False, Split("R</think>A<think>S", "", "truncated")),
        # A server shows everything after the first closing tag.
        ("<think>R<think>S</think>T</think>A", "stop", False, Split("R<think>S", "T</think>A", "closed")),
        # Quoted tags are mentions, in the thought and in the answer.
        ("They ask about `<think>` and `</think>`.</think>A", "stop", True, None),
        ('They ask about "</think>".</think>A', "stop", True, Split('They ask about "</think>".', "A", "prefilled")),
        ("问的是“</think>”。</think>答", "stop", True, Split("问的是“</think>”。", "答", "prefilled")),
        ("R</think>Use `<think>x</think>` here", "stop", True, Split("R", "Use `<think>x</think>` here", "prefilled")),
        ("R</think>```\n<think>\nx\n```", "stop", True, Split("R", "```\n<think>\nx\n```", "prefilled")),
        # Quotation marks around other text hide nothing, whatever stands next to the tag.
        ('He said "hi"</think>"Hello"', "stop", True, Split('He said "hi"', '"Hello"', "prefilled")),
        ('the end."</think>A "word"', "stop", True, Split('the end."', 'A "word"', "prefilled")),
        ("```python\nx = 1</think>```python\nx = 2\n```", "stop", True, None),
    ],
)  # fmt: skip
def test_split(text: str, finish: str, prefilled: bool, expected: Split | None) -> None:
    if expected is None:  # the last closing tag is the real one
        thought, _, answer = text.rpartition("</think>")
        expected = Split(thought, answer, "prefilled")
    assert split_completion(text, finish, prefilled) == expected


@pytest.mark.parametrize(
    ("text", "finish", "expected"),
    [
        ("It writes </think> and goes on", "stop", Split(None, "It writes </think> and goes on", "none")),
        ("A and", "length", Split(None, "A and", "none")),
        ("<think>R</think>A", "stop", Split("R", "A", "closed")),
        ("<think>R", "length", Split("R", "", "truncated")),
    ],
)
def test_split_where_the_prompt_closed_the_thought(text: str, finish: str, expected: Split) -> None:
    assert split_completion(text, finish, prefilled_think=False, answer_only=True) == expected


PIECES = st.sampled_from(
    ["<think>", "</think>", "\n", " ", "a", "b.", "安全", "`", '"', "“", "”", "'", "```", "< think>", "<｜User｜>"]
)
TEXTS = st.lists(PIECES, max_size=14).map("".join)


def ink(*parts: str | None) -> Counter[str]:
    """Characters besides whitespace and tags."""
    text = "\0".join(part or "" for part in parts).replace("<think>", "").replace("</think>", "")
    return Counter(text.replace("\0", "").replace(" ", "").replace("\n", ""))


@given(TEXTS, st.sampled_from(["stop", "length"]), st.booleans(), st.booleans())
@example("<think>a<think>b</think></think>", "stop", False, False)
@example("`</think>", "length", True, True)
def test_nothing_is_lost_and_a_truncated_thought_is_no_answer(
    text: str, finish: str, prefilled: bool, answer_only: bool
) -> None:
    split = split_completion(text, finish, prefilled, answer_only)
    assert ink(split.thought, split.answer) == ink(text)
    assert (split.answer == "") == (split.status in ("truncated", "empty_answer"))
    assert (split.thought is None) <= (split.status in ("none", "empty_answer"))


@given(TEXTS.filter(lambda text: "`" not in text and '"' not in text), st.sampled_from(["stop", "length"]))
def test_an_answer_never_holds_a_thought(text: str, finish: str) -> None:
    """Splitting an answer again finds none. (Code marks may pair differently once the thought between them is gone.)"""
    answer = split_completion(text, finish, prefilled_think=True).answer
    again = split_completion(answer, "stop", prefilled_think=False, answer_only=True)
    assert (again.thought, again.answer) == (None, answer)


@given(st.text().map(str.strip), st.text().map(str.strip).filter(bool))
def test_what_training_writes_is_what_the_splitter_reads(thought: str, answer: str) -> None:
    assert split_completion(completion_text(thought, answer), "stop", True) == (thought, answer, "prefilled")


# --- templates --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    pytest.importorskip("transformers")
    from safekeel.nano.tokenizer import train_tokenizer

    return train_tokenizer([THOUGHT, ANSWER, "He said: ignore"], 400)


@pytest.fixture(params=ENDINGS, ids=lambda path: path.stem)
def ending(request: pytest.FixtureRequest, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """Gives the tokenizer one of the templates; the value is that template's ending."""
    monkeypatch.setattr(tokenizer, "chat_template", request.param.read_text("utf-8"))
    return ENDINGS[request.param]


def test_the_shipped_template_is_byte_identical() -> None:
    assert hashlib.sha256(PRODUCT.read_bytes()).hexdigest() == (
        "56a1447ad31926fdc21fb07e56e5642bd9c850c4f52d8c8af7bbe5f079a84f5f"
    ), "an editor or a hook changed the file; it has no newline at its end"


def test_default_is_the_template_as_it_is(ending: str, tokenizer: Any) -> None:
    text = render_prompt(tokenizer, QUESTION)
    assert text == f"<｜begin▁of▁sentence｜><｜User｜>23*4 是多少？{ending}"
    state = "open" if ending.endswith("<think>\n") else "closed" if "</think>" in ending else "absent"
    assert think_state(text) == state
    assert can_think(tokenizer)


def test_modes_end_the_prompt_alike_whatever_the_template(ending: str, tokenizer: Any) -> None:
    head = "<｜begin▁of▁sentence｜><｜User｜>23*4 是多少？<｜Assistant｜>"
    assert render_prompt(tokenizer, QUESTION, "forced") == f"{head}<think>\n"
    none = render_prompt(tokenizer, QUESTION, "none")
    own = ending.removeprefix("<｜Assistant｜>")
    assert none == head + (own if "</think>" in own else "<think>\n\n</think>\n\n")
    assert (think_state(none), think_state(f"{head}<think>\n")) == ("closed", "open")


def test_a_prefix_starts_the_assistant_turn(tokenizer: Any) -> None:
    text = render_prompt(tokenizer, QUESTION, prefix="Sure, here is")
    assert text.endswith("<｜Assistant｜><think>\nSure, here is")


def test_tags_in_a_message_do_not_decide_the_state(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer, "chat_template", list(ENDINGS)[-1].read_text("utf-8"))
    for content in ("say <think>", "say </think>"):
        assert think_state(render_prompt(tokenizer, (Message(role="user", content=content),))) == "absent"


def test_unusable_conversations_and_templates_are_data_errors(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = Message(role="assistant", content="92")
    for messages in ((), (answer,), (*QUESTION, answer, answer)):  # a single one after a question is a prefill
        with pytest.raises(DataError, match="must end with a user"):
            render_prompt(tokenizer, messages)
    monkeypatch.setattr(tokenizer, "chat_template", "{{ raise_exception('no system role') }}")
    with pytest.raises(DataError, match=r"rejects the roles user .*no system role"):
        render_prompt(tokenizer, QUESTION)
    monkeypatch.setattr(tokenizer, "chat_template", None)
    with pytest.raises(DataError, match="has no chat template; save one"):
        render_prompt(tokenizer, QUESTION)


# --- tokens -----------------------------------------------------------------------------------------------------------


def test_bos_stands_once(tokenizer: Any) -> None:
    bos, text = tokenizer.bos_token_id, render_prompt(tokenizer, QUESTION)
    for written in (text, tokenizer.bos_token + text):
        ids = prompt_ids(tokenizer, written)
        assert ids[0] == bos
        assert ids.count(bos) == 1
    assert bos not in prompt_ids(tokenizer, "no template, and a tokenizer that adds none")


def test_the_round_trip_guard(tokenizer: Any) -> None:
    check_round_trip(tokenizer)

    class DropsSpaces:
        """As transformers issue 45488."""

        def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
            return {"input_ids": [ord(character) for character in text if character != " "]}

        def decode(self, ids: list[int], **_: bool) -> str:
            return "".join(map(chr, ids))

    with pytest.raises(EngineError, match="does not return its own input"):
        check_round_trip(DropsSpaces())


def test_a_tokenizer_that_transformers_loads_wrongly_is_loaded_rightly(tokenizer: Any, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text("utf-8"))
    changed = config | {"tokenizer_class": "LlamaTokenizerFast"}  # what R1's says; its tokenizer.json is byte-level too
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(changed), "utf-8")
    with pytest.raises(EngineError):  # when this starts to fail, transformers is repaired and the fallback can go
        check_round_trip(AutoTokenizer.from_pretrained(tmp_path))
    loaded = load_tokenizer(tmp_path)
    assert loaded("安全  123 a b")["input_ids"] == tokenizer("安全  123 a b")["input_ids"]
    assert loaded.chat_template == tokenizer.chat_template


def assert_reasoning_survives(tokenizer: Any) -> None:
    """Labels are thought, closing tag (one token), answer and EOS; the naive rendering loses the thought."""
    prompt = prompt_ids(tokenizer, render_prompt(tokenizer, QUESTION))
    labels = completion_ids(tokenizer, THOUGHT, ANSWER)
    expected = f"{THOUGHT}\n</think>\n\n{ANSWER}{tokenizer.eos_token}"
    assert tokenizer.decode(labels, skip_special_tokens=False) == expected
    assert labels.count(tokenizer.convert_tokens_to_ids("</think>")) == 1
    assert prompt.count(tokenizer.convert_tokens_to_ids("<think>")) == 1
    assert labels[-1] == tokenizer.eos_token_id
    assert labels.count(tokenizer.eos_token_id) == 1
    whole = tokenizer.decode(prompt + labels, skip_special_tokens=False)
    assert whole == f"<｜begin▁of▁sentence｜><｜User｜>23*4 是多少？<｜Assistant｜><think>\n{expected}"
    turns = [{"role": "user", "content": "23*4 是多少？"}, {"role": "assistant", "content": f"<think>\n{expected}"}]
    naive = tokenizer.apply_chat_template(turns, tokenize=False)
    assert ANSWER in naive
    assert THOUGHT not in naive


def test_reasoning_survives(tokenizer: Any) -> None:
    assert_reasoning_survives(tokenizer)


def test_reasoning_survives_with_the_real_tokenizer() -> None:
    folder = Path(os.environ.get("SAFEKEEL_DATA", "")) / "tokenizers/r1-distill-qwen-reconstructed"
    if not os.environ.get("SAFEKEEL_DATA") or not folder.is_dir():
        pytest.skip("SAFEKEEL_DATA names no folder with tokenizers/r1-distill-qwen-reconstructed")
    pytest.importorskip("transformers")
    real = load_tokenizer(folder)  # transformers 5.17 alone drops its spaces
    assert think_state(render_prompt(real, QUESTION)) == "absent"  # its template is that of January 2025
    real.chat_template = PRODUCT.read_text("utf-8")
    assert_reasoning_survives(real)


def test_a_tokenizer_without_eos_cannot_train() -> None:
    with pytest.raises(DataError, match="no EOS token"):
        completion_ids(SimpleNamespace(eos_token_id=None), "t", "a")
