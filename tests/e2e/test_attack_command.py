"""`safekeel attack` as a user runs it, on a scripted model."""

from __future__ import annotations

import json
from pathlib import Path

from safekeel.attack_run.pack import build_pack, family_of
from safekeel.attacks import resolve
from tests.attack_world import comply, nano_goals, refuse, write_script
from tests.helpers import safekeel


def test_from_a_dry_run_to_a_page(tmp_path: Path) -> None:
    prompts = build_pack(nano_goals(4), resolve(["fiction", "word_reversal"])).prompts
    script = write_script(
        tmp_path / "model.jsonl", prompts, lambda p: comply(p) if family_of(p) == "fiction" else refuse(p)
    )
    out = tmp_path / "attack"
    asked = ["attack", f"scripted:{script}", "--goals", "nano", "--limit", "4", "--family", "fiction,word_reversal"]
    asked += ["--search", "bandit", "--budget", "3"]
    dry = safekeel(*asked, "--dry-run", "--json")
    assert dry.returncode == 0, dry.stderr
    assert json.loads(dry.stdout)["target_calls"] == 12 + 12 and not out.exists()
    done = safekeel(*asked, "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert "at most 24 target calls" in done.stderr  # before the run, so not among its results
    assert "The worst of 2 families is fiction: 100% harmful answers" in done.stdout
    assert "search bandit:" in done.stdout and f"{out}/attack.html" in done.stdout
    text = (out / "attack.html").read_text("utf-8")
    assert "<script" not in text and "Search: bandit" in text
    again = safekeel(*asked, "--out", str(out), "--json")
    assert "up to date, skipped" in again.stderr
    assert json.loads(again.stdout) == json.loads((out / "attack.json").read_text("utf-8"))


def test_what_there_is_to_attack_with_and_what_there_is_not(tmp_path: Path) -> None:
    listed = safekeel("attack", "--list")
    assert listed.returncode == 0 and "fiction" in listed.stdout and "bandit" in listed.stdout
    both = safekeel("attack", "scripted:x", "--pack", "p.jsonl", "--family", "fiction", "--out", str(tmp_path / "a"))
    assert both.returncode == 2 and "--family fiction" in both.stderr
