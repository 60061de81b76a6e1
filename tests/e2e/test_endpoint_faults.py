"""The endpoint engine against a real server that misbehaves: nothing lost, nothing twice, no row mis-scored.

The mock's answer to a prompt holds a hash of the prompt (`tests.endpoint.truth`), so what a row should say is known.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from safekeel.bench.generate import generate
from safekeel.chat import split_completion
from safekeel.engines import dispatch, open_engine
from safekeel.engines.base import Sampling
from safekeel.errors import EngineError
from safekeel.records import Completion, Message, Prompt, read_jsonl
from tests.endpoint import Server, endpoint, truth
from tests.helpers import command, environment, safekeel

KEY = "sk-test-0123456789abcdef"
SAMPLING = Sampling(max_tokens=500)


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second before the first retry is right for a server and long for a test."""
    monkeypatch.setattr(dispatch, "FIRST_WAIT", 0.02)


def prompts(number: int) -> list[Prompt]:
    return [
        Prompt(
            id=f"mock/{index}",
            messages=(Message(role="system", content="简短回答。"), Message(role="user", content=f"问题 {index}")),
            lang="zh",
            risk=None,
            expect="answer",
            target=None,
            source="test",
            licence="Apache-2.0",
        )
        for index in range(number)
    ]


def engine(*servers: Server, **options: Any) -> Any:
    urls = [server.base_url for server in servers]
    return open_engine("api:mock", base_urls=urls, **{"concurrency": 40, "timeout": 0.7, "patience": 0.3, **options})


def mistakes(asked: Sequence[Prompt], rows: Sequence[Completion]) -> list[str]:
    """Rows that say anything but the truth about their own prompt; a row that says that it failed makes no mistake."""
    found = []
    for prompt, row in zip(asked, rows, strict=True):
        expected = split_completion(truth(prompt.messages[-1].content), "stop", prefilled_think=False)
        said = (row.prompt_id, row.thought, row.answer.rstrip("\ufffd"))
        if row.finish != "error" and said != (prompt.id, expected.thought, expected.answer):
            found.append(f"{prompt.id}: {row}")
    return found


# --- one fault at a time ----------------------------------------------------------------------------------------------

TEMPORARY = [
    "busy", "busy_date", "unavailable", "error", "reset", "hang", "garbage", "half_utf8", "half_body", "no_choices",
    "null_content", "no_finish", "html",
]  # fmt: skip


def test_every_fault_at_once_and_every_row_is_right(tmp_path: Path) -> None:
    asked = prompts(400)
    with endpoint(latency=0.02, faults=dict.fromkeys([*TEMPORARY, "surrogate", "no_usage"], 0.05)) as server:
        rows = generate(engine(server), asked, SAMPLING, tmp_path / "completions.jsonl")
        seen = server.stats()
    assert [row.error for row in rows if row.error] == []
    assert mistakes(asked, rows) == []
    assert set(seen["faults"]) == set(TEMPORARY)
    assert min(seen["faults"].values()) >= 3
    assert seen["requests"] == 400 + sum(seen["faults"].values())  # nothing asked again without need
    written = read_jsonl(tmp_path / "completions.jsonl", Completion)
    assert sorted(row.prompt_id for row in written) == sorted(prompt.id for prompt in asked)
    assert sum("\ufffd" in row.answer for row in rows) > 3
    assert sum(row.num_completion_tokens == 0 for row in rows) > 3


@pytest.mark.parametrize("fault", ["error", "garbage"])
def test_a_row_that_always_fails_is_an_error_row_and_the_others_are_right(fault: str) -> None:
    asked = prompts(60)
    with endpoint(faults={fault: 0.05}, fault_times=0) as server:
        rows = engine(server, concurrency=8).generate(asked, SAMPLING)
        sent = server.stats()["faults"][fault]
    failed = [row for row in rows if row.finish == "error"]
    assert 1 <= len(failed) <= 8
    assert sent == 5 * len(failed)
    assert all(row.answer == "" and "failed 5 times, at last: " in (row.error or "") for row in failed)
    assert mistakes(asked, rows) == []


def test_a_rejected_row_fails_at_once_with_the_servers_words() -> None:
    asked = prompts(60)
    with endpoint(faults={"bad_request": 0.1, "filter": 0.1}, fault_times=0) as server:
        rows = engine(server).generate(asked, SAMPLING)
        seen = server.stats()
    assert seen["requests"] == 60
    reasons = [row.error for row in rows if row.finish == "error"]
    assert reasons.count("HTTP 400: bad_request") == seen["faults"]["bad_request"] > 2
    assert len(reasons) == sum(seen["faults"].values())
    assert all(row.answer == "" for row in rows if row.finish == "error")
    assert mistakes(asked, rows) == []


@pytest.mark.parametrize("mode", ["text", "prefilled", "reasoning_content", "reasoning"])
def test_wherever_a_server_puts_the_thought(mode: str) -> None:
    asked = prompts(10)
    with endpoint(reasoning=mode, faults={"at_limit": 0.3}) as server:
        rows = engine(server).generate(asked, SAMPLING)
    assert mistakes(asked, rows) == []
    assert {row.split for row in rows} == {"prefilled" if mode == "prefilled" else "closed"}
    at_limit = [row for row in rows if row.num_completion_tokens == SAMPLING.max_tokens]
    assert at_limit
    assert all((row.finish == "length") == (row in at_limit) for row in rows)


# --- load -------------------------------------------------------------------------------------------------------------


def test_a_server_with_less_room_gets_less_and_loses_nothing() -> None:
    asked = prompts(150)
    with endpoint(latency=0.03, capacity=10, retry_after=0.05) as server:
        rows = engine(server, concurrency=64).generate(asked, SAMPLING)
        seen = server.stats()
    assert mistakes(asked, rows) == []
    assert all(row.finish == "stop" for row in rows)
    assert seen["peak"] <= 64
    assert seen["requests"] < 4 * 150  # turned away at first, not all the time


def test_in_flight_is_what_was_asked_for_and_rows_come_as_they_exist() -> None:
    asked, seen = prompts(90), []
    with endpoint(latency=0.15) as server:
        one = engine(server, concurrency=30)
        rows = one.generate(asked, SAMPLING, lambda row: seen.append((time.monotonic(), row)))
        stats = server.stats()
        assert one.generate(asked[:3], SAMPLING) is not None  # a second run on the same engine
    assert stats["peak"] == 30
    assert [row for _, row in seen] != [] and len(seen) == 90
    assert seen[-1][0] - seen[0][0] > 0.2
    assert {row.prompt_id for _, row in seen} == {row.prompt_id for row in rows}


def test_samples_have_their_own_seeds_and_any_thread_may_ask() -> None:
    asked, found = prompts(3), []
    with endpoint(function="tests.e2e.test_endpoint_faults:told") as server:
        sampling = Sampling(max_tokens=500, num_samples=3, seed=7, temperature=0.6, top_p=0.95)
        thread = threading.Thread(target=lambda: found.extend(engine(server).generate(asked, sampling)))
        thread.start()
        thread.join()
    assert [(row.prompt_id, row.sample, row.answer) for row in found] == [
        (f"mock/{index}", sample, f"简短回答。|问题 {index}") for index in range(3) for sample in range(3)
    ]


def told(messages: list[dict[str, str]]) -> str:
    """A reply of what was asked."""
    return "|".join(message["content"] for message in messages)


# --- mistakes of the user ---------------------------------------------------------------------------------------------


def test_a_wrong_key_stops_the_run_and_is_never_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SAFEKEEL_TEST_KEY", KEY)
    with endpoint(key="another") as server:
        with pytest.raises(EngineError, match=r"401: Incorrect API key provided: Bearer .*SAFEKEEL_TEST_KEY") as raised:
            generate(engine(server, api_key_env="SAFEKEEL_TEST_KEY"), prompts(200), SAMPLING, tmp_path / "rows.jsonl")
        assert KEY not in str(raised.value)
        assert server.stats()["requests"] < 200
        with pytest.raises(EngineError, match=r"No key was sent; .* --api-key-env"):
            engine(server).generate(prompts(1), SAMPLING)
    assert (tmp_path / "rows.jsonl").read_text() == ""


def test_the_right_key_reaches_the_server_and_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SAFEKEEL_TEST_KEY", KEY)
    path = tmp_path / "rows.jsonl"
    with endpoint(key=KEY, echo_key=True, faults={"error": 0.2}, fault_times=0) as server:
        rows = generate(engine(server, api_key_env="SAFEKEEL_TEST_KEY"), prompts(20), SAMPLING, path)
    assert any(row.finish == "error" for row in rows)
    assert any(row.answer.endswith("Bearer [key]") for row in rows)
    assert KEY not in path.read_text("utf-8")


def test_a_wrong_model_name_offers_the_nearest() -> None:
    with endpoint(model="deepseek-r1-distill") as server, pytest.raises(EngineError) as raised:
        open_engine("api:deepseek-r1-distil", base_urls=[server.base_url]).generate(prompts(50), SAMPLING)
    assert "It serves deepseek-r1-distill, not 'deepseek-r1-distil'. Did you mean" in str(raised.value)


def test_a_wrong_address_stops_the_run() -> None:
    with endpoint() as server:
        wrong = server.base_url.replace("/v1", "/v2")
        with pytest.raises(EngineError, match=r"404.*Correct --base-url"):
            open_engine("api:mock", base_urls=[wrong]).generate(prompts(5), SAMPLING)
    with pytest.raises(EngineError, match=r"(?s)no connection to .*5 rows are missing.*run the same command again"):
        engine(server).generate(prompts(5), SAMPLING)


def test_a_server_that_closes_for_the_day_stops_the_run() -> None:
    said = r"slow down.*\(it asks to wait 86400 s\).*run the same command again"
    closed = endpoint(faults={"busy": 1.0}, fault_times=0, retry_after=86_400)
    with closed as server, pytest.raises(EngineError, match=said):
        engine(server).generate(prompts(30), SAMPLING)


def test_a_server_that_turns_everything_away_stops_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "BUSY_PATIENCE", 0.3)
    busy = endpoint(faults={"busy": 1.0}, fault_times=0, retry_after=0.01)
    with busy as server, pytest.raises(EngineError, match=r"turned every request away for 0 s: HTTP 429: slow down"):
        engine(server, concurrency=4).generate(prompts(30), SAMPLING)


def test_an_error_in_what_takes_the_rows_stops_the_run() -> None:
    def full(row: Completion) -> None:
        raise OSError("the disk is full")

    with endpoint() as server, pytest.raises(OSError, match="the disk is full"):
        engine(server).generate(prompts(30), SAMPLING, full)


# --- death ------------------------------------------------------------------------------------------------------------


def test_an_endpoint_that_dies_leaves_its_requests_to_the_other() -> None:
    asked = prompts(300)
    with endpoint(latency=0.02, die_after=60) as dying, endpoint(latency=0.02) as living:
        rows = engine(dying, living).generate(asked, SAMPLING)
        seen = living.stats()
    assert mistakes(asked, rows) == []
    assert all(row.finish == "stop" for row in rows)
    assert 200 < seen["requests"] <= 300 - 59


def test_an_endpoint_that_dies_at_half_stops_the_run_and_running_again_continues(tmp_path: Path) -> None:
    asked, path = prompts(200), tmp_path / "completions.jsonl"
    with endpoint(latency=0.02, die_after=100) as server:
        with pytest.raises(EngineError, match=r"101 rows are missing, what is done is kept"):
            generate(engine(server), asked, SAMPLING, path)
        kept = read_jsonl(path, Completion)
        assert len(kept) == 99
        server.restart()
        rows = generate(engine(server), asked, SAMPLING, path)
        assert server.stats()["requests"] == 101
    assert mistakes(asked, rows) == []
    assert all(row.finish == "stop" for row in rows)
    assert sorted(row.prompt_id for row in read_jsonl(path, Completion)) == sorted(prompt.id for prompt in asked)


def test_an_endpoint_that_comes_back_in_time_is_used_again() -> None:
    asked = prompts(120)
    with endpoint(latency=0.02, die_after=60) as server:
        back = threading.Timer(1.0, server.restart)
        back.start()
        rows = engine(server, patience=20).generate(asked, SAMPLING)
        back.join()
    assert mistakes(asked, rows) == []
    assert all(row.finish == "stop" for row in rows)


def test_kill_9_at_half_and_the_same_command_again(tmp_path: Path) -> None:
    out = tmp_path / "eval"
    with endpoint(latency=0.1) as server:
        arguments = ["eval", "api:mock", "--base-url", server.base_url, "--bench", "tc260-refuse", "--judge", "rules"]
        arguments += ["--limit", "120", "--concurrency", "8", "--out", str(out)]
        process = subprocess.Popen(command(*arguments), env=environment(), stderr=subprocess.DEVNULL)
        path = out / "completions.jsonl"
        while not path.exists() or path.read_bytes().count(b"\n") < 60:
            assert process.poll() is None
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        kept = path.read_bytes().count(b"\n")
        before = server.stats()["requests"]
        done = safekeel(*arguments)
        assert done.returncode == 0, done.stderr
        assert server.stats()["requests"] - before == 120 - kept
    asked, rows = read_jsonl(out / "prompts.jsonl", Prompt), read_jsonl(path, Completion)
    by_id = {row.prompt_id: row for row in rows}
    assert len(rows) == len(by_id) == len(asked) == 120
    assert mistakes(asked, [by_id[prompt.id] for prompt in asked]) == []
    scores = json.loads((out / "scores.json").read_text("utf-8"))
    assert {row["num_items"] for row in scores if row["slice"] == "all" and row["metric"] == "dsr"} == {120}


# --- what it needs ----------------------------------------------------------------------------------------------------


def test_it_needs_neither_torch_nor_transformers() -> None:
    with endpoint() as server:
        code = (
            "import sys; sys.modules |= {'torch': None, 'transformers': None, 'tokenizers': None}\n"
            "from tests.e2e.test_endpoint_faults import engine, mistakes, prompts, SAMPLING\n"
            "from safekeel.engines import open_engine\n"
            f"one = open_engine('api:mock', base_urls=[{server.base_url!r}])\n"
            "asked = prompts(5)\n"
            "assert mistakes(asked, one.generate(asked, SAMPLING)) == []\n"
            "print('ok')"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "ok\n", done.stderr


@pytest.mark.parametrize("think", ["none", "forced"])
def test_other_thinking_modes_go_through_a_local_template(think: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from safekeel.nano.tokenizer import ASSISTANT, BOS, train_tokenizer

    train_tokenizer(["你好 hello"], 300).save_pretrained(tmp_path)
    with endpoint(function="tests.e2e.test_endpoint_faults:continued") as server:
        one = engine(server, tokenizer=tmp_path)
        sampling = Sampling(max_tokens=900, think=think)
        rows = one.generate(prompts(2), sampling)
        sent = one.rendered(prompts(2)[1], sampling)
    assert sent.endswith(ASSISTANT + ("<think>\n\n</think>\n\n" if think == "none" else "<think>\n"))
    assert sent.count(BOS) == 1  # this tokenizer adds none by itself
    said = f"got {sha256(sent.encode()).hexdigest()}"
    if think == "none":
        assert (rows[1].thought, rows[1].answer, rows[1].split) == (None, said, "none")
    else:
        assert (rows[1].thought, rows[1].answer, rows[1].split) == (said, "answer", "prefilled")


def continued(messages: list[dict[str, str]]) -> str:
    """What `/completions` makes of a prompt that ends in a closed or an open thought; it tells what it was sent."""
    text = messages[-1]["content"]
    return f"got {sha256(text.encode()).hexdigest()}" + (
        "" if text.endswith("</think>\n\n") else "\n</think>\n\nanswer"
    )
