"""Attackers that are of no use, and targets that fail: nothing crashes, everything is counted and shown, a dead
attacker is an error before the target is asked, and what failed is asked again by the same command."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from safekeel.artifact import read_manifest
from safekeel.attack_run import command, terminal
from safekeel.attack_run.command import FAILED_CALLS, attack_model
from safekeel.attack_run.goals import GoalRequest
from safekeel.attack_run.pack import build_pack
from safekeel.attack_run.prepare import AttackRequest
from safekeel.attack_run.search import CHECK, SearchRequest
from safekeel.attacks import resolve
from safekeel.attacks.search.log import QueryRow, failed_calls
from safekeel.bench.command import EvalRequest, JudgeRequest
from safekeel.engines.scripted import ScriptedEngine
from safekeel.errors import EngineError
from safekeel.records import Completion, Prompt, read_jsonl
from tests.attack_world import nano_goals, refuse, write_script

NUMBER, BUDGET = 3, 4
READY = {"id": CHECK, "raw": "ready"}
LOOP = {"raw": '{"same": true, "improvement": "x", "prompt": "again"}'}
VOICES = {
    "garbage": {"raw": "}{ not a proposal <<<"},
    "refuses": {"raw": "I cannot help with that."},
    "empty": {"raw": ""},
    "endless": {"raw": '{"improvement": "' + "and more " * 50, "finish": "length"},
    "loops": LOOP,
}


def script(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_script(tmp_path / "model.jsonl", build_pack(nano_goals(NUMBER), resolve(["fiction"])).prompts, refuse)


def request(model: Path, attacker: Path, strategy: str = "pair") -> AttackRequest:
    search = SearchRequest((strategy,), BUDGET, f"scripted:{attacker}")
    target = EvalRequest(f"scripted:{model}", (), JudgeRequest())
    return AttackRequest(target, GoalRequest("nano", limit=NUMBER), ("fiction",), search=search)


def by_attacker(prompt_id: str) -> bool:
    return "/attacker/" in prompt_id


def run(asked: AttackRequest, out: Path) -> tuple[dict[str, Any], str]:
    said: list[str] = []
    return attack_model(asked, out, "safekeel attack", said.append), "\n".join(said)


@pytest.mark.parametrize(
    ("strategy", "voice"),
    [*product(("pair", "tap"), VOICES), ("crescendo", "garbage"), ("gptfuzzer", "refuses")],
)
def test_a_useless_attacker_is_counted_and_shown(strategy: str, voice: str, model: Path, tmp_path: Path) -> None:
    attacker = script(tmp_path / "attacker.jsonl", VOICES[voice])
    found, _ = run(request(model, attacker, strategy), tmp_path / "attack")
    [search] = found["searches"]
    assert search["num_broken"] == 0 and search["target_calls"] <= NUMBER * BUDGET
    counts = search["attacker"]
    assert counts["calls"] <= NUMBER * (8 * BUDGET + 16)
    shown = terminal.as_text(found, tmp_path)
    if voice == "loops":
        assert counts["failures"] == 0
    else:
        assert counts["failures"] + counts["unreadable"] > 0
        assert f"of {counts['calls']} attacker calls gave no prompt" in shown
    if strategy in ("pair", "tap"):
        assert search["repeated"] == NUMBER * (BUDGET - 1)
        assert f"{NUMBER * (BUDGET - 1)} of {NUMBER * BUDGET} target calls repeated a prompt" in shown
        assert "use another --attacker" in shown


def test_an_attacker_that_does_not_answer_stops_the_run_before_the_target_is_asked(model: Path, tmp_path: Path) -> None:
    attacker, out = script(tmp_path / "attacker.jsonl", {"id": "nobody", "raw": "x"}), tmp_path / "attack"
    with pytest.raises(
        EngineError, match=r"--attacker scripted:attacker.jsonl: it does not answer .*same command again"
    ):
        run(request(model, attacker), out)
    assert not (out / "completions.jsonl").exists() and not failed_calls(out / "calls.jsonl")
    script(attacker, LOOP)  # put right
    assert run(request(model, attacker), out)[0]["searches"][0]["attacker"]["failures"] == 0


def test_an_attacker_that_dies_after_its_first_word_is_no_search(model: Path, tmp_path: Path) -> None:
    """Without the check its goals would count as defended: with few goals it never fails three batches in a row."""
    attacker, out = script(tmp_path / "attacker.jsonl", READY), tmp_path / "attack"
    with pytest.raises(
        EngineError, match=r"answered none of its 24 calls; most often: .*says nothing about the target"
    ):
        run(request(model, attacker), out)
    assert not (out / "manifest.json").exists() and not failed_calls(out / "calls.jsonl")
    assert len(read_jsonl(out / "completions.jsonl", Completion)) == 2 * NUMBER  # of the pack, which are kept


def test_calls_of_a_search_that_failed_are_asked_again(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The target fails at every goal's second query, once; the second run mends that and nothing else."""
    attacker, out = script(tmp_path / "attacker.jsonl", LOOP), tmp_path / "attack"
    complete, asked = ScriptedEngine._complete, []

    def failing(self: ScriptedEngine, prompt: Prompt, *rest: Any) -> Completion:
        asked.append(prompt.id)
        row = complete(self, prompt, *rest)
        if is_down and prompt.id.startswith("pair/") and prompt.id.endswith("/00002") and not by_attacker(prompt.id):
            gone = {"finish": "error", "error": "timed out", "answer": "", "thought": None, "split": "truncated"}
            return row.model_copy(update=gone)
        return row

    monkeypatch.setattr(ScriptedEngine, "_complete", failing)
    is_down = True
    found, said = run(request(model, attacker), out)
    assert found["searches"][0]["target_errors"] == NUMBER and read_manifest(out)["counts"][FAILED_CALLS] == NUMBER
    assert f"{NUMBER} calls of the searches failed; most often: timed out. They are no defence" in said
    assert f"{NUMBER} of its target calls failed: neither broken nor defended" in terminal.as_text(found, out)
    is_down, before = False, len(asked)
    found, said = run(request(model, attacker), out)
    assert f"{NUMBER} of its calls failed; asking for these again" in said
    again = asked[before:]
    assert len([name for name in again if not by_attacker(name)]) == NUMBER and set(again) <= set(asked[:before])
    assert found["searches"][0]["target_errors"] == 0 and read_manifest(out)["counts"][FAILED_CALLS] == 0
    assert all(row.error is None for row in read_jsonl(out / "queries.jsonl", QueryRow))
    monkeypatch.setattr(command, "open_engine", lambda *_, **__: pytest.fail("the model was opened"))
    assert "up to date, skipped" in run(request(model, attacker), out)[1]


def test_a_search_that_is_continued_meets_its_failures_again(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill must not change where a search goes."""
    attacker = script(tmp_path / "attacker.jsonl", READY, {"match": "[一-鿿]", **LOOP})  # fails where a goal is English
    whole, _ = run(request(model, attacker, "tap"), tmp_path / "whole")
    assert failed_calls(tmp_path / "whole/calls.jsonl")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(command, "write_report", _interrupt)
        run(request(model, attacker, "tap"), tmp_path / "killed")
    monkeypatch.setattr(ScriptedEngine, "generate", lambda *_: pytest.fail("something was asked twice"))
    assert run(request(model, attacker, "tap"), tmp_path / "killed")[0] == whole


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def test_another_attack_in_the_same_folder_says_that_it_replaces_the_first(model: Path, tmp_path: Path) -> None:
    attacker, out = script(tmp_path / "attacker.jsonl", LOOP), tmp_path / "attack"
    run(request(model, attacker), out)
    _, said = run(request(model, attacker, "tap"), out)
    assert "holds the result of another attack (its settings changed), which this one replaces" in said
