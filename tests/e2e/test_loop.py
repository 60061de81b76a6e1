"""The whole loop as a user runs it: every artefact, the second run, the read commands, the real benchmark."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from safekeel.artifact import read_manifest
from safekeel.pipeline import STAGES
from safekeel.records import Completion, Prompt, Verdict, read_jsonl
from tests.helpers import safekeel, tiny_arguments


def test_every_stage_leaves_a_manifest_and_the_evaluations_pair(finished_run: Path) -> None:
    for stage in STAGES:
        manifest = read_manifest(finished_run / stage)
        assert manifest["outputs"] and manifest["seed"] is not None
    before, after = (
        read_jsonl(finished_run / name / "prompts.jsonl", Prompt) for name in ("05-eval-before", "60-eval-after")
    )
    assert before == after
    rows = read_jsonl(finished_run / "60-eval-after/completions.jsonl", Completion)
    assert [row.prompt_id for row in rows] and {row.prompt_id for row in rows} == {prompt.id for prompt in after}
    verdicts = read_jsonl(finished_run / "60-eval-after/verdicts.jsonl", Verdict)
    assert {verdict.prompt_id for verdict in verdicts} == {prompt.id for prompt in after}


def test_the_base_complies_and_even_a_tiny_training_moves_it(finished_run: Path) -> None:
    def value(stage: str, benchmark: str, metric: str) -> float:
        rows = json.loads((finished_run / stage / "scores.json").read_text("utf-8"))
        return next(r["value"] for r in rows if (r["benchmark"], r["metric"], r["slice"]) == (benchmark, metric, "all"))

    assert value("05-eval-before", "nano-refuse", "hr") >= 0.85
    assert value("05-eval-before", "nano-refuse", "refused") == 0.0
    assert value("60-eval-after", "nano-refuse", "dsr") > value("05-eval-before", "nano-refuse", "dsr")


def test_card_has_the_published_schema(finished_run: Path) -> None:
    card = json.loads((finished_run / "90-report/card.json").read_text("utf-8"))
    assert set(card) >= {"run", "scores", "comparisons", "gate", "seconds", "hardware", "packages"}
    assert {"benchmark", "metric", "before", "after", "difference", "low", "high", "p", "num_pairs", "verdict"} <= set(
        card["comparisons"][0]
    )
    assert card["gate"]["verdict"] in ("GO", "NO-GO", "INCONCLUSIVE")
    assert {"name", "value", "low", "high", "threshold", "verdict"} <= set(card["gate"]["rules"][0])
    html = (finished_run / "90-report/report.html").read_text("utf-8")
    assert "<script src" not in html and "https://cdn" not in html


def test_a_second_run_does_nothing_quickly(finished_run: Path) -> None:
    started = time.monotonic()
    again = safekeel(*tiny_arguments(finished_run))
    assert again.returncode == 0, again.stderr
    assert [line.split(":")[0] for line in again.stderr.splitlines() if "skipped" in line] == list(STAGES)
    assert time.monotonic() - started < 60  # a hang, not a benchmark: `benchmarks/` measures the seconds


def test_force_redoes_a_stage_and_all_after_it(finished_run: Path) -> None:
    kept = (finished_run / "60-eval-after/manifest.json").read_text("utf-8")
    again = safekeel(*tiny_arguments(finished_run), "--force", "90-report")
    assert again.returncode == 0, again.stderr
    assert "90-report: running" in again.stderr and "60-eval-after: up to date" in again.stderr
    assert (finished_run / "60-eval-after/manifest.json").read_text("utf-8") == kept


def test_gate_exit_code_matches_the_verdict(finished_run: Path) -> None:
    result = safekeel("gate", str(finished_run), "--json")
    verdict = json.loads(result.stdout)["verdict"]
    assert result.returncode == {"GO": 0, "NO-GO": 1, "INCONCLUSIVE": 5}[verdict]


def test_score_again_without_the_model_gives_the_same_scores(finished_run: Path, tmp_path: Path) -> None:
    for name in ("prompts.jsonl", "completions.jsonl"):
        (tmp_path / name).write_bytes((finished_run / "05-eval-before" / name).read_bytes())
    done = safekeel("score", str(tmp_path), "--json")
    assert done.returncode == 0, done.stderr
    before = {
        (r["benchmark"], r["metric"], r["slice"]): r["value"]
        for r in json.loads((finished_run / "05-eval-before/scores.json").read_text())
    }
    again = {(r["benchmark"], r["metric"], r["slice"]): r["value"] for r in json.loads(done.stdout)}
    assert again == {key: before[key] for key in again} and set(again) == set(before)


def test_single_training_stages_and_the_corpus_card(finished_run: Path, tmp_path: Path) -> None:
    base, corpus = finished_run / "00-base/model", finished_run / "10-corpus"
    done = safekeel(
        "train",
        "sft",
        f"hf:{base}",
        "--corpus",
        str(corpus),
        "--out",
        str(tmp_path / "sft"),
        "--set",
        "sft.num_epochs=1",
    )
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "sft/checkpoints").glob("checkpoint-*/model.safetensors"))
    card = safekeel("corpus", "card", str(corpus), "--json")
    assert json.loads(card.stdout)["samples"] > 0


@pytest.mark.skipif(not os.environ.get("SAFEKEEL_DATA"), reason="needs the public data: set SAFEKEEL_DATA")
def test_real_benchmark_end_to_end(finished_run: Path, tmp_path: Path) -> None:
    """CHiSafetyBench's refusal questions on the nano model: it knows nothing of them, and the figures say so."""
    out = tmp_path / "eval"
    arguments = [
        "eval",
        f"hf:{finished_run / '40-rl/model'}",
        "--bench",
        "chisafetybench-refusal",
        "--limit",
        "50",
        "--out",
        str(out),
        "--json",
    ]
    done = safekeel(*arguments, "--max-tokens", "64")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    refused, harmful = (
        next(row for row in rows if (row["metric"], row["slice"]) == (name, "all")) for name in ("rr1", "hr")
    )
    assert (refused["num_items"], refused["headline"], refused["label_source"]) == (50, True, "model")
    assert harmful["headline"] is False  # the embedded judge's card does not carry harm in Chinese
    assert len(read_jsonl(out / "completions.jsonl", Completion)) == 50
