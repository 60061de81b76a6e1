"""The endpoint engine against a real server that misbehaves: nothing lost, nothing twice, no row mis-scored.

The mock's answer to a prompt holds a hash of the prompt (`tests.endpoint.truth`), so what a row should say is known.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from safekeel.bench.generate import generate
from safekeel.engines import dispatch
from safekeel.engines.base import Sampling
from safekeel.errors import EngineError
from safekeel.records import Completion, Prompt, read_jsonl
from tests.endpoint import endpoint, engine, mistakes, prompts
from tests.helpers import command, environment, safekeel

SAMPLING = Sampling(max_tokens=500)


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second before the first retry is right for a server and long for a test."""
    monkeypatch.setattr(dispatch, "FIRST_WAIT", 0.02)


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
