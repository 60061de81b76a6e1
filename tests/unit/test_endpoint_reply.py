"""Reading replies: thought and answer wherever a server puts them, and no text that is not the whole answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safekeel.engines.endpoint_reply import MAX_MESSAGE, Asked, MalformedReplyError, cut, error_message, read_reply
from tests.endpoint import prompts

ASKED = Asked(prompts(2)[1], 2, "r1", max_tokens=100)


def reply(finish: Any = "stop", tokens: int | None = 20, **message: Any) -> bytes:
    usage = {} if tokens is None else {"usage": {"prompt_tokens": 7, "completion_tokens": tokens}}
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return json.dumps({"choices": [choice], **usage}, ensure_ascii=False).encode()


T, A = "想 plan", "答案"
RAW = "<think>\n想 plan\n</think>\n\n答案"


@pytest.mark.parametrize(
    ("body", "thought", "answer", "split", "finish"),
    [
        (reply(content=f"<think>{T}</think>{A}"), T, A, "closed", "stop"),
        (reply(content=f"{T}</think>{A}"), T, A, "prefilled", "stop"),
        (reply(content=A), None, A, "none", "stop"),
        (reply(content=A, finish="length"), A, "", "truncated", "length"),  # may be all thought
        (reply(content=f"<think>{T}", finish="length"), T, "", "truncated", "length"),
        (reply(content=f"<think>{T}"), T, "", "truncated", "stop"),
        (reply(content=""), None, "", "empty_answer", "stop"),
        (reply(content=A, reasoning_content=T), T, A, "closed", "stop"),
        (reply(content=A, reasoning=T), T, A, "closed", "stop"),  # vLLM since 2025
        (reply(content=A, reasoning=T, reasoning_content=T), T, A, "closed", "stop"),
        (reply(content=A, reasoning_content=None), None, A, "none", "stop"),
        (reply(content=A, reasoning_content=""), None, A, "none", "stop"),
        (reply(content=None, reasoning_content=T, finish="length"), T, "", "truncated", "length"),
        (reply(content="\n", reasoning_content=T, finish="length"), T, "", "truncated", "length"),
        (reply(content=None, reasoning_content=T), T, "", "empty_answer", "stop"),
        (reply(content=A, reasoning_content=T, finish="length"), T, A, "closed", "length"),
        (reply(content=f"<think>more</think>{A}", reasoning_content=T), f"{T}\nmore", A, "multiple", "stop"),
        (reply(content=f"{A}<think>mo", reasoning_content=T), f"{T}\n{A}<think>mo", "", "truncated", "stop"),
        (reply(content=A, reasoning_content=f"{T} </think>"), f"{T} </think>", A, "closed", "stop"),
        (reply(content=None, refusal="I cannot help."), None, "I cannot help.", "none", "stop"),
        (reply(content=A, reasoning_content=T, tokens=100), T, A, "closed", "length"),  # `stop` at the limit
        (reply(content=A, tokens=100), A, "", "truncated", "length"),
        (reply(content=A, reasoning_content=T, finish="eos_token"), T, A, "closed", "stop"),
        (reply(content=A, reasoning_content=T, finish="max_tokens"), T, A, "closed", "length"),
    ],
)  # fmt: skip
def test_thought_and_answer_of_a_reply(body: bytes, thought: str | None, answer: str, split: str, finish: str) -> None:
    row = read_reply(body, ASKED, 1.5)
    assert (row.thought, row.answer, row.split, row.finish) == (thought, answer, split, finish)
    assert (row.prompt_id, row.sample, row.model, row.seconds, row.error) == ("mock/1", 2, "r1", 1.5, None)


def test_the_raw_text_is_what_the_model_wrote() -> None:
    assert read_reply(reply(content=A, reasoning_content=T), ASKED, 0).raw == RAW
    assert read_reply(reply(content=RAW), ASKED, 0).raw == RAW
    cut_off = read_reply(reply(content=None, reasoning_content=T, finish="length"), ASKED, 0)
    assert cut_off.raw == f"<think>\n{T}"


def test_the_ways_a_local_template_ends() -> None:
    body = json.dumps({"choices": [{"text": f"{T}\n</think>\n{A}", "finish_reason": "stop"}]}).encode()
    row = read_reply(body, ASKED._replace(prefilled_think=True), 0)
    assert (row.thought, row.answer, row.split) == (T, A, "prefilled")
    body = json.dumps({"choices": [{"text": A, "finish_reason": "length"}]}).encode()
    assert read_reply(body, ASKED._replace(prefilled_think=True), 0).split == "truncated"
    row = read_reply(body, ASKED._replace(answer_only=True), 0)
    assert (row.answer, row.split, row.finish) == (A, "none", "length")


def test_without_usage_tokens_are_zero() -> None:
    row = read_reply(reply(content=A, tokens=None), ASKED, 0)
    assert (row.num_prompt_tokens, row.num_completion_tokens, row.answer) == (0, 0, A)
    odd = reply(content=A).replace(b'"completion_tokens": 20', b'"completion_tokens": "many"')
    assert read_reply(odd, ASKED, 0).num_completion_tokens == 0


@pytest.mark.parametrize("reason", ["content_filter", "safety"])
def test_what_a_filter_stopped_is_no_answer_and_no_refusal(reason: str) -> None:
    row = read_reply(reply(content="I'm sorry, I can't", finish=reason), ASKED, 0)
    assert (row.finish, row.split, row.answer, row.thought) == ("error", "truncated", "", None)
    assert row.raw == "I'm sorry, I can't"
    assert reason in (row.error or "")


def test_half_a_surrogate_pair_becomes_a_replacement_character() -> None:
    body = b'{"choices": [{"message": {"content": "\\ud83d answer"}, "finish_reason": "stop"}]}'
    assert read_reply(body, ASKED, 0).answer == "\ufffd answer"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not JSON"),
        (b'{"choices": [{"mess', "not JSON"),
        (b"<html>gateway</html>", "not JSON: '<html>gateway"),
        (b"[" * 100_000, "not JSON"),
        (b"null", "no JSON object: None"),
        (reply(content="。")[:-40] + "。".encode()[:2], "not UTF-8"),
        (reply(content="\ufffd").replace("\ufffd".encode(), b"\xed\xa0\xbd"), "not UTF-8"),  # a surrogate, as CESU-8
        (b"{}", "no choice: choices is None"),
        (b'{"choices": []}', r"no choice: choices is \[\]"),
        (b'{"choices": [null]}', "no choice"),
        (b'{"choices": {"0": 1}}', "no choice"),
        (b'{"error": {"message": "boom"}}', "no choice"),
        (reply(content=None), "content is None"),
        (reply(content=["a"]), r"content is \['a'\]"),
        (reply(content=A, reasoning_content={"text": T}), "reasoning {"),
        (b'{"choices": [{"finish_reason": "stop"}]}', "message is None"),
        (reply(content=A, finish=None), "does not say how it ended: finish_reason is None"),
        (reply(content=A, finish=["stop"]), "does not say how it ended"),
        (reply(content=A, finish="tool_calls"), "finish_reason is 'tool_calls'"),
        (reply(content=A, finish="abort"), "was interrupted"),
        (reply(content=A, finish="insufficient_system_resource"), "was interrupted"),
    ],
)
def test_a_reply_that_is_not_whole_is_no_row(body: bytes, message: str) -> None:
    with pytest.raises(MalformedReplyError, match=message):
        read_reply(body, ASKED, 0)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.fixed_dictionaries({}, optional={
    "content": json_values, "reasoning_content": json_values, "reasoning": json_values, "refusal": json_values,
}), json_values | st.sampled_from(["stop", "length", "content_filter"]), json_values)  # fmt: skip
def test_no_reply_gives_an_answer_that_was_not_in_it(message: dict, finish: object, usage: object) -> None:
    body = json.dumps({"choices": [{"message": message, "finish_reason": finish}], "usage": usage}).encode()
    try:
        row = read_reply(body, ASKED, 0)
    except MalformedReplyError:
        return
    said = message.get("content") or message.get("refusal") or ""
    assert row.answer == "" or all(
        line.encode("utf-8", "replace").decode().strip("?\ufffd")
        in said.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        for line in row.answer.split("\n")
    )
    assert row.model_validate_json(row.model_dump_json()) == row


# --- errors and secrets -----------------------------------------------------------------------------------------------

KEY = "sk-0123456789abcdef"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error": {"message": "too long", "code": 400}}', "too long"),
        (b'{"message": "too long"}', "too long"),
        (b'{"error": "too long"}', "too long"),
        (b'{"detail": [{"loc": ["n"]}]}', '{"detail": [{"loc": ["n"]}]}'),
        (b"plain\n  text", "plain text"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"", ""),
    ],
)
def test_a_servers_own_words(body: bytes, message: str) -> None:
    assert error_message(body, None) == message


def test_the_request_that_a_server_echoes_is_not_told() -> None:
    """FastAPI's 422 holds what it was sent, wherever the field stands."""
    problem = {"type": "missing", "loc": ["body", "model"], "msg": "Field required", "input": {"messages": "SECRET"}}
    told = error_message(json.dumps({"detail": [problem], "body": "SECRET"}).encode(), None)
    assert "Field required" in told and "model" in told and "SECRET" not in told


@given(st.integers(0, MAX_MESSAGE + 30))
def test_no_part_of_an_echoed_key_is_shown(position: int) -> None:
    shown = error_message(json.dumps({"error": {"message": "x" * position + KEY + " is wrong"}}).encode(), KEY)
    assert KEY[:6] not in shown
    assert len(shown) <= MAX_MESSAGE + 1
    assert KEY not in cut(f"…{KEY}…", KEY)
