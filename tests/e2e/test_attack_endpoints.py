"""`safekeel attack` on endpoints, as a user runs it: interrupted, killed, or left by a server, the same command goes on
where it was, asks nothing twice but what was under way, and ends with the files of a run that was left alone."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from safekeel.attack_run import command as attack_command
from safekeel.attack_run.command import attack_model
from safekeel.attack_run.goals import GoalRequest
from safekeel.attack_run.prepare import AttackRequest
from safekeel.attack_run.search import SearchRequest
from safekeel.bench.command import EvalRequest, JudgeRequest
from safekeel.engines import open_engine
from safekeel.errors import EngineError
from safekeel.records import Prompt, read_jsonl
from tests.attack_voices import NUM_GOALS
from tests.endpoint import Server, endpoint
from tests.helpers import safekeel, start

FAMILIES, BUDGET, IN_FLIGHT = ("fiction", "leet"), 6, 2
IN_PACK = NUM_GOALS * (1 + len(FAMILIES))
SAME = ("attack.json", "queries.jsonl", "outcomes.jsonl", "pack.jsonl", "scores.json", "breaks.jsonl")


class World(NamedTuple):
    """Two servers, and the folder of a TAP search on them that nothing interrupted."""

    target: Server
    attacker: Server
    whole: Path
    calls: tuple[int, int]
    """Of target and attacker, for the whole."""

    def arguments(self, out: Path) -> list[str]:
        asked = ["attack", "api:t", "--base-url", self.target.base_url, "--concurrency", str(IN_FLIGHT)]
        asked += ["--attacker", "api:a", "--attacker-base-url", self.attacker.base_url, "--search", "tap"]
        asked += ["--goals", "nano", "--limit", str(NUM_GOALS), "--family", ",".join(FAMILIES)]
        return [*asked, "--budget", str(BUDGET), "--out", str(out)]

    def requests(self) -> tuple[int, int]:
        return self.target.stats()["requests"], self.attacker.stats()["requests"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    voices = "tests.attack_voices"
    target = partial(endpoint, function=f"{voices}:target", latency=0.02)
    with target() as one, endpoint(function=f"{voices}:attacker", latency=0.01) as two:
        found = World(one, two, tmp_path_factory.mktemp("attack") / "whole", (0, 0))
        done = safekeel(*found.arguments(found.whole))
        assert done.returncode == 0, done.stderr
        yield found._replace(calls=found.requests())


def rows(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.parametrize(
    ("sent", "name", "after"),
    [
        (signal.SIGINT, "completions.jsonl", 3),
        (signal.SIGKILL, "completions.jsonl", 6),
        (signal.SIGINT, "calls.jsonl", 9),
        (signal.SIGKILL, "calls.jsonl", 40),
    ],
)
def test_stopped_in_the_middle_and_run_again(
    sent: signal.Signals, name: str, after: int, world: World, tmp_path: Path
) -> None:
    out = tmp_path / "attack"
    before = world.requests()
    process = start(*world.arguments(out))
    while rows(out / name) < after:
        assert process.poll() is None
        time.sleep(0.005)
    os.kill(process.pid, sent)
    _, said = process.communicate()
    assert process.returncode == (130 if sent == signal.SIGINT else -signal.SIGKILL)
    assert sent == signal.SIGKILL or "run the same command again to continue" in said
    assert not (out / "manifest.json").exists() and not (out / "attack.json").exists()
    done = safekeel(*world.arguments(out))
    assert done.returncode == 0, done.stderr
    for file in SAME:
        assert (out / file).read_bytes() == (world.whole / file).read_bytes(), file
    asked = [now - then for now, then in zip(world.requests(), before, strict=True)]
    for number, whole in zip(asked, world.calls, strict=True):
        assert whole <= number <= whole + IN_FLIGHT  # what was on its way when the signal came


def test_nothing_of_a_request_is_printed(world: World, tmp_path: Path) -> None:
    done = safekeel(*world.arguments(world.whole), "--json")
    assert done.returncode == 0 and "up to date, skipped" in done.stderr
    for prompt in read_jsonl(world.whole / "pack.jsonl", Prompt):
        for turn in prompt.messages:
            assert turn.content not in done.stdout and turn.content not in done.stderr


def test_a_target_that_dies_in_the_middle_of_a_tree(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient: Any = lambda model, **options: open_engine(model, patience=0.3, **options)  # noqa: E731
    monkeypatch.setattr(attack_command, "open_engine", impatient)
    out = tmp_path / "attack"
    with endpoint(function="tests.attack_voices:target", die_after=IN_PACK + 5) as target:
        asked = AttackRequest(
            EvalRequest("api:t", (), JudgeRequest(), base_urls=(target.base_url,), concurrency=IN_FLIGHT),
            GoalRequest("nano", limit=NUM_GOALS),
            FAMILIES,
            search=SearchRequest(("tap",), BUDGET, "api:a", (world.attacker.base_url,), concurrency=IN_FLIGHT),
        )
        with pytest.raises(EngineError, match=r"Check the server and run the same command again: it continues"):
            attack_model(asked, out, "safekeel attack", lambda _: None)
        assert rows(out / "completions.jsonl") == IN_PACK and 0 < rows(out / "queries.jsonl") <= 4
        target.restart()
        attack_model(asked, out, "safekeel attack", lambda _: None)
        assert target.stats()["requests"] <= world.calls[0] - IN_PACK - 4
    for file in SAME:
        assert (out / file).read_bytes() == (world.whole / file).read_bytes(), file


def test_an_attacker_that_is_not_there_is_found_before_the_target_is_asked(tmp_path: Path, world: World) -> None:
    before, asked = world.requests(), world.arguments(tmp_path / "attack")
    place = asked.index("--attacker-base-url") + 1
    done = safekeel(*asked[:place], world.attacker.base_url.replace("/v1", "/v2"), *asked[place + 1 :])
    assert done.returncode == 4 and "error: --attacker a: " in done.stderr and "--attacker-base-url" in done.stderr
    assert world.requests() == before


def test_a_budget_without_a_search(tmp_path: Path) -> None:
    asked = ["attack", "api:t", "--base-url", "http://127.0.0.1:9/v1", "--goals", "nano", "--limit", "2"]
    done = safekeel(*asked, "--family", "fiction", "--budget", "5", "--out", str(tmp_path / "a"))
    assert done.returncode == 2 and "--budget 5: only --search has a budget" in done.stderr
