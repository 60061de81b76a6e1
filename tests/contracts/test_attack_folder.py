"""What an attack run leaves on disk, whatever happened in between: the files and fields other tools read, one manifest
at the very end, the same result after a kill, and nothing asked twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from safekeel.artifact import read_manifest
from safekeel.attack_run import command
from safekeel.attack_run.command import attack_model
from safekeel.attack_run.goals import GoalRequest
from safekeel.attack_run.pack import build_pack, family_of, read_pack
from safekeel.attack_run.prepare import AttackRequest
from safekeel.attack_run.search import SearchRequest
from safekeel.attacks import resolve
from safekeel.bench.command import EvalRequest, JudgeRequest
from safekeel.corpus.sources.redteam import RedTeamSource
from safekeel.engines.scripted import ScriptedEngine
from safekeel.errors import DataError, EngineError, UsageError
from safekeel.records import Completion, Prompt, Verdict, read_jsonl
from tests.attack_world import comply, nano_goals, refuse, write_script

FAMILIES = ("fiction", "role_play")
NUMBER = 6
JAILBREAKBENCH = (
    "index", "goal", "behavior", "category", "prompt", "response", "number_of_queries", "queries_to_jailbreak",
    "prompt_tokens", "response_tokens", "jailbroken",
)  # fmt: skip


def say(prompt: Prompt) -> str:
    """Fiction works on every goal of a category under A.1 or A.2; nothing else works."""
    return comply(prompt) if family_of(prompt) == "fiction" else refuse(prompt)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    prompts = build_pack(nano_goals(NUMBER), resolve(FAMILIES)).prompts
    return write_script(tmp_path / "model.jsonl", prompts, say)


def request(model: Path, **more: Any) -> AttackRequest:
    target = EvalRequest(f"scripted:{model}", (), JudgeRequest())
    given = {"goals": GoalRequest("nano", limit=NUMBER), "families": FAMILIES, **more}
    return AttackRequest(target, **given)


def run(asked: AttackRequest, out: Path) -> tuple[dict[str, Any], list[str]]:
    said: list[str] = []
    return attack_model(asked, out, "safekeel attack", said.append), said


def test_the_folder_is_an_evaluation_with_a_pack_and_a_page(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "attack"
    found, said = run(request(model), out)
    assert any("at most 18 target calls" in line for line in said)
    prompts = read_jsonl(out / "pack.jsonl", Prompt)
    assert prompts == read_jsonl(out / "prompts.jsonl", Prompt)
    assert {row.prompt_id for row in read_jsonl(out / "completions.jsonl", Completion)} == {p.id for p in prompts}
    assert read_jsonl(out / "verdicts.jsonl", Verdict)
    scores = {(row["benchmark"], row["metric"]): row for row in json.loads((out / "scores.json").read_text("utf-8"))}
    assert scores["jailbreak-fiction", "hr"]["value"] == 1.0 and scores["jailbreak-all", "hr"]["value"] == 0.5
    assert scores["jailbreak-direct", "refused"]["value"] == 1.0
    manifest = read_manifest(out)
    assert manifest["stage"] == "attack" and manifest["counts"]["pack"] == read_pack(out).sha256
    listed = {row["path"] for row in manifest["outputs"]}
    assert listed >= {"pack.jsonl", "completions.jsonl", "attack.json", "attack.md", "attack.html", "breaks.jsonl"}
    assert found == json.loads((out / "attack.json").read_text("utf-8"))
    assert found["worst_family"] == "fiction" and found["counted"] == list(FAMILIES)


def test_a_second_run_is_skipped_and_another_page_needs_no_model(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "attack"
    run(request(model), out)
    monkeypatch.setattr(command, "open_engine", lambda *_, **__: pytest.fail("the model was opened"))
    assert any("up to date, skipped" in line for line in run(request(model), out)[1])
    found, said = run(request(model, base=(out,), transfer=(out,)), out)
    assert any("its page made again" in line for line in said)
    assert found["base"]["changes"]["fiction"]["difference"] == 0
    assert found["transfer"]["models"][0]["there_to_here"] == 1.0
    assert found["counted"] == ["fiction"] and found["not_measurable"] == ["role_play"]
    read_manifest(out)


def test_a_frozen_pack_is_the_same_attack_on_another_model(model: Path, tmp_path: Path) -> None:
    first, _ = run(request(model), tmp_path / "one")
    asked = request(model, goals=None, pack=tmp_path / "one" / "pack.jsonl")
    second, _ = run(asked, tmp_path / "two")
    assert (tmp_path / "one/pack.jsonl").read_bytes() == (tmp_path / "two/pack.jsonl").read_bytes()
    assert {**first, "pack": None} == {**second, "pack": None}
    assert first["pack"]["sha256"] == second["pack"]["sha256"]
    breaks, _ = run(request(model, goals=None, pack=tmp_path / "one" / "breaks.jsonl"), tmp_path / "three")
    assert [row["family"] for row in breaks["families"]] == ["direct", "fiction"]


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def test_a_kill_in_the_middle_leaves_no_manifest_and_changes_nothing(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched = SearchRequest(("bandit",), budget=4)
    whole, _ = run(request(model, search=searched), tmp_path / "whole")
    out, asked = tmp_path / "killed", []
    generate = ScriptedEngine.generate

    def counted(self: ScriptedEngine, prompts: list[Prompt], *rest: Any) -> list[Completion]:
        asked.append(len(prompts))
        if len(asked) in stops:
            raise KeyboardInterrupt
        return generate(self, prompts, *rest)

    monkeypatch.setattr(ScriptedEngine, "generate", counted)
    stops = {1, 3}  # before the first answer, and at the first query of the search
    for _ in stops:
        with pytest.raises(KeyboardInterrupt):
            run(request(model, search=searched), out)
        assert not (out / "manifest.json").exists()
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(command, "write_report", interrupt)
        run(request(model, search=searched), out)
    assert not (out / "manifest.json").exists()
    before = len(asked)
    found, _ = run(request(model, search=searched), out)
    assert len(asked) == before  # nothing is asked twice
    assert found == whole and read_manifest(out)["counts"]["kept"] == 3 * NUMBER
    assert (out / "queries.jsonl").read_bytes() == (tmp_path / "whole/queries.jsonl").read_bytes()


def test_queries_carry_jailbreakbenchs_fields(model: Path, tmp_path: Path) -> None:
    found, said = run(request(model, search=SearchRequest(("bandit", "best-of-n"), budget=3)), tmp_path / "attack")
    rows = [json.loads(line) for line in (tmp_path / "attack/queries.jsonl").open(encoding="utf-8")]
    assert rows and all(set(JAILBREAKBENCH) <= row.keys() for row in rows)
    assert [search["strategy"] for search in found["searches"]] == ["bandit", "best-of-n"]
    assert sum(search["target_calls"] for search in found["searches"]) == len(rows) <= 2 * 3 * NUMBER
    assert found["cost"]["target_calls"] == 3 * NUMBER + len(rows)
    assert any("at most 54 target calls" in line for line in said)


def test_what_broke_training_goals_can_be_trained_on_and_test_goals_cannot(model: Path, tmp_path: Path) -> None:
    goals = nano_goals(NUMBER, "train")
    prompts = build_pack(goals, resolve(FAMILIES), "train").prompts
    other = write_script(tmp_path / "train.jsonl", prompts, say)
    run(request(other, goals=GoalRequest("nano", "train", limit=NUMBER)), tmp_path / "train")
    assert read_pack(tmp_path / "train").about["wording"] == "train"
    rows = list(RedTeamSource(tmp_path / "train").rows())
    assert len([row for row in rows if hasattr(row, "role")]) == NUMBER
    run(request(model), tmp_path / "test")
    assert {row.reason for row in RedTeamSource(tmp_path / "test").rows()} == {"benchmark_item"}


def test_a_model_that_answers_nothing_is_an_engine_error(tmp_path: Path) -> None:
    script = tmp_path / "none.jsonl"
    script.write_text('{"id": "other", "raw": "x"}\n', "utf-8")
    with pytest.raises(EngineError, match="all 18 completions failed"):
        run(request(script), tmp_path / "attack")
    assert not (tmp_path / "attack/manifest.json").exists()


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"families": ("ficton",)}, UsageError, "Did you mean 'fiction'"),
        ({"families": ()}, UsageError, "--list"),
        ({"goals": None}, UsageError, "--goals"),
        ({"search": SearchRequest(("bandti",))}, UsageError, "Did you mean 'bandit'"),
        ({"search": SearchRequest(("pair",))}, UsageError, "--attacker"),
        ({"search": SearchRequest((), attacker="api:x")}, UsageError, "only --search"),
        ({"base": (Path("/nowhere"),)}, DataError, "no finished attack"),
    ],
)
def test_wrong_input_stops_before_anything_is_written(
    model: Path, tmp_path: Path, change: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        run(request(model, **change), tmp_path / "attack")
    assert not (tmp_path / "attack").exists()
