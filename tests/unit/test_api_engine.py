"""The endpoint engine in parts: limits, health of an endpoint, reading of replies, options. Its behaviour against a
real server under faults is in tests/e2e/test_endpoint_faults.py."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from safekeel.engines import open_engine
from safekeel.engines.api import ApiEngine
from safekeel.engines.base import Sampling
from safekeel.engines.endpoint import DOWN_AFTER, FIRST_PROBE, Endpoint, least_busy, parse_base_url, retry_after
from safekeel.engines.endpoint_reply import MAX_MESSAGE, Asked, MalformedReplyError, cut, error_message, read_reply
from safekeel.engines.limiter import Limiter
from safekeel.errors import UsageError
from safekeel.records import Message, Prompt

URLS = ["http://127.0.0.1:9/v1"]


def prompt(text: str = "你好") -> Prompt:
    return Prompt(
        id="p/1",
        messages=(Message(role="user", content=text),),
        lang="zh",
        risk=None,
        expect="answer",
        target=None,
        source="test",
        licence="Apache-2.0",
    )


# --- limiter ----------------------------------------------------------------------------------------------------------


def serve(limiter: Limiter, capacity: int, rounds: int) -> list[int]:
    """A server that takes `capacity` at a time and turns the rest away at once; the limit after each round."""
    limits = []
    for _ in range(rounds):
        sent, window = limiter.limit, limiter.window
        for number in range(sent):
            limiter.answered(window, refused=number < sent - capacity)
        limits.append(limiter.limit)
    return limits


def test_stray_refusals_cost_nothing() -> None:
    limiter = Limiter(500)
    for number in range(10_000):
        limiter.answered(limiter.window, refused=number % 50 == 0)
    assert limiter.limit == 500


def test_an_overloaded_server_is_found_and_the_limit_grows_back() -> None:
    limiter = Limiter(500)
    limits = serve(limiter, capacity=60, rounds=30)
    assert max(limits[10:]) < 80
    assert min(limits[10:]) > 45
    assert serve(limiter, capacity=10_000, rounds=40)[-1] == 500


def test_one_overload_is_one_cut() -> None:
    limiter = Limiter(100)
    for _ in range(100):  # all were sent before the first was turned away
        limiter.answered(0, refused=True)
    assert limiter.limit == 50
    limiter.answered(0, refused=False)
    assert limiter.limit == 50


@given(st.integers(1, 300), st.lists(st.booleans(), max_size=400))
def test_the_limit_stays_between_floor_and_most(most: int, refusals: list[bool]) -> None:
    limiter = Limiter(most)
    for refused in refusals:
        limiter.answered(limiter.window, refused)
        assert 1 <= limiter.limit <= most


# --- one endpoint -----------------------------------------------------------------------------------------------------


def endpoint(concurrency: int = 4) -> Endpoint:
    return Endpoint(URL(URLS[0]), concurrency)


def test_an_unreachable_endpoint_gets_one_probe_at_a_time() -> None:
    one = endpoint()
    one.sent()
    one.failed(0, "refused", now=10.0, unreachable=True)
    assert one.is_down
    assert one.seconds_to_probe(10.0) == FIRST_PROBE
    assert not one.has_room(10.0)
    assert one.has_room(10.0 + FIRST_PROBE)
    one.sent()
    assert not one.has_room(1000.0)
    one.failed(1, "refused", now=20.0, unreachable=True)
    assert one.seconds_to_probe(20.0) == 2 * FIRST_PROBE
    assert one.down_since == 10.0
    one.is_alive()
    assert one.has_room(20.0)


def test_rows_that_fail_again_and_again_are_not_the_endpoints_fault_but_ten_different_ones_are() -> None:
    one = endpoint()
    for number in range(100):
        one.failed(number % (DOWN_AFTER - 1), "reset", now=float(number))
    assert not one.is_down
    one.failed(DOWN_AFTER, "reset", now=100.0)
    assert one.is_down
    other = endpoint()
    for number in range(100):
        other.failed(number, "reset", now=0.0)
        if number % 5 == 4:
            other.is_alive()
    assert not other.is_down


def test_the_least_busy_endpoint_with_room_is_chosen() -> None:
    one, two = endpoint(2), endpoint(2)
    chosen = []
    for _ in range(4):
        found = least_busy([one, two], 0.0)
        assert found is not None
        found.sent()
        chosen.append(found)
    assert chosen == [one, two, one, two]
    assert least_busy([one, two], 0.0) is None
    two.in_flight -= 1
    assert least_busy([one, two], 0.0) is two
    two.failed(0, "gone", 0.0, unreachable=True)
    assert least_busy([one, two], 0.0) is None


@pytest.mark.parametrize(
    ("given_url", "url"),
    [
        ("http://host:8000/v1", "http://host:8000/v1"),
        ("http://host:8000/v1/", "http://host:8000/v1"),
        ("http://host:8000", "http://host:8000/v1"),
        ("https://api.deepseek.com/", "https://api.deepseek.com/v1"),
        ("http://host/v1/chat/completions", "http://host/v1"),
        ("http://host/v1/completions", "http://host/v1"),
        ("https://host/compatible-mode/v1", "https://host/compatible-mode/v1"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
    ],
)
def test_base_urls(given_url: str, url: str) -> None:
    assert str(parse_base_url(given_url)) == url


@pytest.mark.parametrize("text", ["host:8000/v1", "", "ftp://host/v1", "http://", "http://host:port/v1", "/v1"])
def test_what_is_no_base_url(text: str) -> None:
    with pytest.raises(UsageError, match="expected a URL such as"):
        parse_base_url(text)


@pytest.mark.parametrize("text", ["http://me:s3cret@host/v1", "http://host/v1?api-key=s3cret", "http://s3cret@host"])
def test_a_secret_in_a_url_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(UsageError, match="--api-key-env") as raised:
        parse_base_url(text)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, 0.0),
        ("", 0.0),
        ("7", 7.0),
        ("0.25", 0.25),
        ("-3", 0.0),
        ("nan", 0.0),
        ("soon", 0.0),
        ("Wed, 21 Oct 2026 07:28:30 GMT", 30.0),
        ("Wed, 21 Oct 2026 07:27:00 GMT", 0.0),
        ("Wed, 21 Oct 2026 07:28:30 -0000", 30.0),
    ],
)
def test_retry_after(value: str | None, seconds: float) -> None:
    assert retry_after(value, datetime(2026, 10, 21, 7, 28, tzinfo=UTC)) == seconds


def test_retry_after_forever_is_a_number() -> None:
    assert retry_after("inf") == math.inf


# --- replies ----------------------------------------------------------------------------------------------------------

ASKED = Asked(prompt(), 2, "r1", max_tokens=100)


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
    assert (row.prompt_id, row.sample, row.model, row.seconds, row.error) == ("p/1", 2, "r1", 1.5, None)


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


@given(st.integers(0, MAX_MESSAGE + 30))
def test_no_part_of_an_echoed_key_is_shown(position: int) -> None:
    shown = error_message(json.dumps({"error": {"message": "x" * position + KEY + " is wrong"}}).encode(), KEY)
    assert KEY[:6] not in shown
    assert len(shown) <= MAX_MESSAGE + 1
    assert KEY not in cut(f"…{KEY}…", KEY)


# --- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"base_urls": []}, {"base_urls": "http://127.0.0.1:9/v1"}])
def test_an_endpoint_needs_its_urls(options: dict) -> None:
    with pytest.raises(UsageError, match="--base-url URL"):
        open_engine("api:r1", **options)


@pytest.mark.parametrize("options", [{"concurrency": 0}, {"timeout": 0.0}, {"timeout": math.nan}])
def test_numbers_above_zero(options: dict) -> None:
    with pytest.raises(UsageError, match="expected numbers above 0"):
        ApiEngine("r1", URLS, **options)


def test_more_connections_than_the_system_allows() -> None:
    with pytest.raises(UsageError, match="open files"):
        ApiEngine("r1", URLS, concurrency=10**9)


def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SAFEKEEL_TEST_KEY", raising=False)
    with pytest.raises(UsageError, match="--api-key-env SAFEKEEL_TEST_KEY: no such environment variable"):
        ApiEngine("r1", URLS, api_key_env="SAFEKEEL_TEST_KEY")
    with pytest.raises(UsageError, match="not the key itself") as raised:
        ApiEngine("r1", URLS, api_key_env=KEY)
    assert KEY not in str(raised.value)
    monkeypatch.setenv("SAFEKEEL_TEST_KEY", f"{KEY}\n")
    engine = ApiEngine("r1", URLS, api_key_env="SAFEKEEL_TEST_KEY")
    assert KEY not in repr(vars(engine))
    for wrong in ("", " ", "two words", "line\nbreak", "密钥"):
        monkeypatch.setenv("SAFEKEEL_TEST_KEY", wrong)
        with pytest.raises(UsageError, match="no usable key") as raised:
            ApiEngine("r1", URLS, api_key_env="SAFEKEEL_TEST_KEY")


def test_the_model_is_its_name_and_revision_wherever_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAFEKEEL_TEST_KEY", KEY)
    one = ApiEngine("r1", URLS).model_id
    assert ApiEngine("r1", ["http://other/v1", *URLS], api_key_env="SAFEKEEL_TEST_KEY").model_id == one
    assert len({one, ApiEngine("r1", URLS, revision="a").model_id, ApiEngine("r2", URLS).model_id}) == 3


def test_urls_of_one_server_count_once() -> None:
    engine = ApiEngine("r1", ["http://127.0.0.1:9", "http://127.0.0.1:9/v1/"])
    assert [str(url) for url in engine.base_urls] == URLS


def test_what_is_sent_is_the_messages() -> None:
    engine = ApiEngine("r1", URLS)
    assert engine.rendered(prompt(), Sampling()) == '[{"content": "你好", "role": "user"}]'
    assert engine.rendered(prompt("a"), Sampling(seed=3)) != engine.rendered(prompt("b"), Sampling(seed=3))


@pytest.mark.parametrize("think", ["none", "forced"])
def test_other_thinking_modes_need_the_tokenizer(think: str) -> None:
    engine = ApiEngine("r1", URLS)
    for call in (lambda s: engine.rendered(prompt(), s), lambda s: engine.generate([prompt()], s)):
        with pytest.raises(UsageError, match="--tokenizer FOLDER"):
            call(Sampling(think=think))


def test_a_tokenizer_folder_that_is_none(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    engine = ApiEngine("r1", URLS, tokenizer=tmp_path / "missing")
    with pytest.raises(UsageError, match="expected a local folder"):
        engine.rendered(prompt(), Sampling(think="none"))


def test_nothing_to_ask_opens_no_connection() -> None:
    assert ApiEngine("r1", URLS).generate([], Sampling()) == []
