"""`safekeel attack` as a user runs it, on a scripted model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from safekeel.attack_run.pack import build_pack, family_of
from safekeel.attacks import resolve
from safekeel.corpus.sample import Sample
from safekeel.corpus.sources.base import SourcesConfig, open_sources, read_sources
from safekeel.records import Prompt, read_jsonl
from safekeel.taxonomy import load_taxonomy
from tests.attack_world import comply, nano_goals, refuse, write_script
from tests.helpers import safekeel
from tests.scripted_teacher import write_script as write_teacher


def fiction_works(prompt: Prompt) -> str:
    return comply(prompt) if family_of(prompt) == "fiction" else refuse(prompt)


def test_from_a_dry_run_to_a_page(tmp_path: Path) -> None:
    prompts = build_pack(nano_goals(4), resolve(["fiction", "word_reversal"])).prompts
    script = write_script(tmp_path / "model.jsonl", prompts, fiction_works)
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
    broke = safekeel("attack", f"scripted:{script}", "--pack", str(out / "breaks.jsonl"), "--dry-run", "--json")
    assert broke.returncode == 0 and "4096" not in broke.stderr  # its token budget came with it
    assert json.loads(broke.stdout)["num_prompts"] == len((out / "breaks.jsonl").read_text("utf-8").splitlines()) > 4
    (out / "attack.html").unlink()
    script.unlink()
    page = safekeel("report", str(out))
    assert page.returncode == 0, page.stderr
    assert page.stdout.strip() == f"{out}/attack.html" and (out / "attack.html").read_text("utf-8") == text
    (out / "manifest.json").rename(out / "started.json")  # as a killed run leaves it
    broken = safekeel("report", str(out))
    assert broken.returncode == 3 and f"safekeel attack scripted:{script} … --out {out}" in broken.stderr


def test_an_attack_that_is_cut_off_throughout_still_ends_with_a_page(tmp_path: Path) -> None:
    script = tmp_path / "model.jsonl"
    script.write_text('{"raw": "<think>still", "finish": "length"}\n', "utf-8")
    out = tmp_path / "attack"
    asked = ["attack", f"scripted:{script}", "--goals", "nano", "--limit", "2", "--family", "fiction"]
    done = safekeel(*asked, "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert "no verdict" in done.stdout and "Families" in (out / "attack.html").read_text("utf-8")


def test_what_there_is_to_attack_with_and_what_there_is_not(tmp_path: Path) -> None:
    listed = safekeel("attack", "--list")
    assert listed.returncode == 0 and "fiction" in listed.stdout and "bandit" in listed.stdout
    both = safekeel("attack", "scripted:x", "--pack", "p.jsonl", "--family", "fiction", "--out", str(tmp_path / "a"))
    assert both.returncode == 2 and "--family fiction" in both.stderr


def test_from_an_attack_to_a_corpus(tmp_path: Path) -> None:
    """What breaks a model on training goals becomes safe reasoning about it; nothing in a test wording does."""
    pytest.importorskip("rensa", reason="the extra `corpus` is not installed")
    goals = nano_goals(6, "train")
    prompts = build_pack(goals, resolve(["fiction"]), "train").prompts
    model = write_script(tmp_path / "model.jsonl", prompts, fiction_works)
    attack = ["attack", f"scripted:{model}", "--goals", "nano", "--goals-split", "train", "--limit", "6"]
    for wording in ("train", "test"):
        out = str(tmp_path / wording)
        done = safekeel(*attack, "--family", "fiction", "--wording", wording, "--out", out)
        assert done.returncode == 0, done.stderr
    source = SourcesConfig(starter=False, redteam=(str(tmp_path / "train"),))
    rows, _ = read_sources(open_sources(source, None, load_taxonomy()))
    teacher = write_teacher(rows, load_taxonomy(), tmp_path / "teacher.jsonl")
    settings = ("starter=false", "sets=[]")
    build = ["corpus", "build", "--target", f"scripted:{teacher}", "--judge", "linear"]
    build += [part for each in settings for part in ("--set", f"sources.{each}")]
    build += ["--set", "mixture.exact_ratios=false", "--set", "synthesis.num_candidates=1"]
    built = safekeel(*build, "--set", f'sources.redteam=["{tmp_path / "train"}"]', "--out", str(tmp_path / "corpus"))
    assert built.returncode == 0, built.stderr
    assert "6 prompts found by fiction 6" in built.stderr
    risky = [row for row in read_jsonl(tmp_path / "corpus/sft.jsonl", Sample) if row.role == "risky"]
    assert risky and {row.prompt.attack.name for row in risky if row.prompt.attack} == {"fiction"}
    assert {row.prompt.meta["parent"] for row in risky} <= {goal.id for goal in goals}
    refused = safekeel(*build, "--set", f'sources.redteam=["{tmp_path / "test"}"]', "--out", str(tmp_path / "none"))
    assert refused.returncode == 3 and "held_out_wording" in refused.stderr and "--wording train" in refused.stderr
