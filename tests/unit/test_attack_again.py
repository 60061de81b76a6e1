"""`safekeel report` of an attack folder: the same page again, nothing asked, and a clear word where there is none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from safekeel.artifact import read_manifest, sha256_file
from safekeel.attack_run import command
from safekeel.attack_run.again import is_attack, page_again
from safekeel.attack_run.command import attack_model
from safekeel.attack_run.goals import GoalRequest
from safekeel.attack_run.pack import build_pack, family_of
from safekeel.attack_run.prepare import AttackRequest
from safekeel.attack_run.report import PAGE
from safekeel.attack_run.search import SearchRequest
from safekeel.attack_run.sources import SOURCES, read_sources
from safekeel.attacks import resolve
from safekeel.bench.command import EvalRequest, JudgeRequest, rescore_folder
from safekeel.bench.run import members
from safekeel.corpus.sources.starter import StarterSource
from safekeel.errors import DataError
from safekeel.records import Prompt, write_jsonl
from safekeel.taxonomy import load_taxonomy
from tests.attack_world import comply, nano_goals, refuse, write_script

NUMBER = 4
FAMILIES = ("fiction", "role_play")


def say(prompt: Prompt) -> str:
    return comply(prompt) if family_of(prompt) == "fiction" else refuse(prompt)


def request(folder: Path, **more: Any) -> AttackRequest:
    prompts = build_pack(nano_goals(NUMBER), resolve(FAMILIES)).prompts
    folder.mkdir(parents=True, exist_ok=True)
    script = write_script(folder / "model.jsonl", prompts, say)
    target = EvalRequest(f"scripted:{script}", (), JudgeRequest())
    return AttackRequest(target, **{"goals": GoalRequest("nano", limit=NUMBER), "families": FAMILIES, **more})


def attacked(folder: Path, **more: Any) -> Path:
    out = folder / "attack"
    attack_model(request(folder, **more), out, "safekeel attack", lambda _: None)
    return out


def quiet(line: str) -> None:
    pytest.fail(line)


def content(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in PAGE}


def without_page(folder: Path) -> None:
    for name in PAGE:
        if name != SOURCES:
            (folder / name).unlink()


def test_the_same_page_comes_back_and_the_folder_is_still_current(tmp_path: Path) -> None:
    first = attacked(tmp_path / "base")
    asked = request(tmp_path, base=(first,), transfer=(first,), search=SearchRequest(("bandit",), budget=3))
    out = tmp_path / "attack"
    attack_model(asked, out, "safekeel attack", lambda _: None)
    before, manifest = content(out), read_manifest(out)
    without_page(out)
    assert is_attack(out) and page_again(out, None, quiet) == out / "attack.html"
    assert content(out) == before and read_manifest(out) == manifest
    found = json.loads(before["attack.json"])
    assert found["base"]["folders"] == [str(first)] and found["transfer"]["models"][0]["folder"] == str(first)
    said: list[str] = []
    attack_model(asked, out, "safekeel attack", said.append)
    assert any("up to date, skipped" in line for line in said)


def test_no_judge_and_no_model_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = attacked(tmp_path)
    (tmp_path / "model.jsonl").unlink()
    for name in ("open_engine", "judge_for"):
        monkeypatch.setattr(command, name, lambda *_, **__: pytest.fail("something was opened"))
    page_again(out, None, quiet)
    judge = next(iter(members(read_sources(out).judge).values()))
    with pytest.raises(DataError, match="only a record of a judge"):
        judge.judge(None, None)  # type: ignore[arg-type]


def test_the_page_may_go_elsewhere_and_leaves_the_folder_alone(tmp_path: Path) -> None:
    out = attacked(tmp_path)
    before = {path.name: sha256_file(path) for path in out.iterdir()}
    assert page_again(out, tmp_path / "web", quiet) == tmp_path / "web/attack.html"
    assert {path.name for path in (tmp_path / "web").iterdir()} == {*PAGE} - {SOURCES}
    assert (tmp_path / "web/attack.html").read_bytes() == (out / "attack.html").read_bytes()
    assert {path.name: sha256_file(path) for path in out.iterdir()} == before


def test_folders_that_were_moved_together_are_found_and_a_missing_one_is_named(tmp_path: Path) -> None:
    first = attacked(tmp_path / "a/base")
    out = attacked(tmp_path / "a/after", base=(first,))
    shutil.move(tmp_path / "a", tmp_path / "b")
    moved = tmp_path / "b/after/attack"
    page_again(moved, None, quiet)
    assert json.loads((moved / "attack.json").read_text("utf-8"))["base"]["folders"] == [
        str(tmp_path / "b/base/attack")
    ]
    shutil.rmtree(tmp_path / "b/base")
    with pytest.raises(DataError, match="Put that folder back, or run the same `safekeel attack`"):
        page_again(moved, None, quiet)
    assert not out.exists()


def test_a_folder_of_before_sources_json_is_read_from_its_own_page(tmp_path: Path) -> None:
    first = attacked(tmp_path / "base")
    out = attacked(tmp_path, base=(first,))
    before = content(out)
    (out / SOURCES).unlink()
    page_again(out, None, quiet)
    assert content(out) == before


def test_a_judge_with_a_card_is_a_headline_again_and_another_judge_has_its_own(tmp_path: Path) -> None:
    """Prompts that no grammar reads: the embedded judge, whose card ships."""
    rows = [row.prompt for row in StarterSource(load_taxonomy()).rows() if getattr(row, "role", "") == "risky"][:3]
    write_jsonl(tmp_path / "goals.jsonl", rows)
    (tmp_path / "say.jsonl").write_text('{"raw": "<think>risky</think>I cannot help with that."}\n', "utf-8")
    target = EvalRequest(f"scripted:{tmp_path / 'say.jsonl'}", (), JudgeRequest("linear"))
    asked = AttackRequest(target, GoalRequest(str(tmp_path / "goals.jsonl")), ("fiction",))
    out = tmp_path / "attack"
    attack_model(asked, out, "safekeel attack", lambda _: None)
    before = content(out)
    assert json.loads(before[SOURCES])["judges"][0]["card"] is not None
    without_page(out)
    page_again(out, None, quiet)
    assert content(out) == before
    rescore_folder(out, JudgeRequest("rules"), None)
    page_again(out, None, quiet)
    (judge,) = json.loads((out / "attack.json").read_text("utf-8"))["judges"]
    assert judge["name"] == "rules" and judge["num_verdicts"] == 6 and judge["card"]


def test_an_unfinished_attack_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(command, "write_report", killed)
        attacked(tmp_path)
    out = tmp_path / "attack"
    model = tmp_path / "model.jsonl"
    assert is_attack(out)
    with pytest.raises(DataError, match="has not finished") as error:
        page_again(out, None, quiet)
    assert f"safekeel attack scripted:{model} … --out {out}" in str(error.value) and error.value.exit_code == 3
    assert not (out / "attack.html").exists()


def test_a_changed_file_is_said_and_stays_visible_in_the_manifest(tmp_path: Path) -> None:
    out = attacked(tmp_path)
    was = (out / "scores.json").read_text("utf-8")
    (out / "scores.json").write_text(was + " ", "utf-8")
    said: list[str] = []
    page_again(out, None, said.append)
    assert len(said) == 1 and "scores.json was changed after the attack finished" in said[0]
    hashes = {row["path"]: row["sha256"] for row in read_manifest(out)["outputs"]}
    assert hashes["scores.json"] != sha256_file(out / "scores.json")
    assert hashes["attack.json"] == sha256_file(out / "attack.json")


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("pack.jsonl", None, "pack.jsonl"),
        ("config.json", "{}", "how the model was sampled"),
        (SOURCES, '{"judges": 1}', "sources.json"),
        ("verdicts.jsonl", "not json\n", "verdicts.jsonl"),
    ],
)
def test_what_is_missing_or_malformed_is_named(tmp_path: Path, name: str, text: str | None, says: str) -> None:
    out = attacked(tmp_path)
    (out / name).unlink()
    if text is not None:
        (out / name).write_text(text, "utf-8")
    with pytest.raises(DataError, match=says):
        page_again(out, None, lambda _: None)


def test_other_folders_are_no_attacks(tmp_path: Path) -> None:
    assert not is_attack(tmp_path) and not is_attack(tmp_path / "nowhere")
    (tmp_path / "manifest.json").write_text('{"stage": "eval", "config_digest": "x"}', "utf-8")
    assert not is_attack(tmp_path)
