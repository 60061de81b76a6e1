"""A round of attack and repair in the whole loop: folders, the curve, the report, a second run that does nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from safekeel.artifact import read_manifest
from safekeel.corpus.sample import Sample
from safekeel.records import Prompt, read_jsonl
from tests.helpers import safekeel, tiny_arguments

SMALL = (
    "corpus.attacked_share=0.0",
    "rl.num_steps=0",
    "suite.num_refuse=12",
    "rounds.num_rounds=1",
    "rounds.num_goals=8",
    "rounds.budget=4",
    "rounds.num_test_goals=4",
    "rounds.test_budget=2",
    "rounds.search_budget=3",
)


@pytest.fixture(scope="module")
def attacked_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("rounds") / "run"
    done = safekeel(*tiny_arguments(out, *SMALL), timeout=900)
    assert done.returncode in (0, 1, 5), done.stderr
    return out


def test_finds_join_the_corpus_that_the_next_model_is_trained_on(attacked_run: Path) -> None:
    round_folder = attacked_run / "rounds/01"
    finds = read_jsonl(round_folder / "50-attack/finds.jsonl", Prompt)
    assert finds, "a model trained for seconds must be breakable"
    before, after = (
        {sample.id: sample for sample in read_jsonl(folder / "sft.jsonl", Sample)}
        for folder in (attacked_run / "10-corpus", round_folder / "10-corpus")
    )
    added = [sample for name, sample in after.items() if name not in before]
    assert set(before) < set(after) and {sample.role for sample in added} <= {"risky", "counter"}
    trained = read_manifest(round_folder / "20-sft")
    assert trained["counts"]["in"] == len(after)


def test_no_test_goal_and_no_unseen_family_is_ever_attacked_for_training(attacked_run: Path) -> None:
    families = json.loads((attacked_run / "05-eval-before/families.json").read_text("utf-8"))
    for find in read_jsonl(attacked_run / "rounds/01/50-attack/finds.jsonl", Prompt):
        assert find.meta["split"] == "sft" and find.attack is not None
        assert families[find.attack.name]["seen"] and "test" not in find.attack.params["label"]


def test_the_curve_has_the_base_and_every_round_and_the_report_draws_it(attacked_run: Path) -> None:
    curve = json.loads((attacked_run / "rounds/curve.json").read_text("utf-8"))
    assert [row["round"] for row in curve] == ["base", "00", "01"]
    assert curve[0]["seen"]["dsr"] == 0.0  # the base complies with whatever it understands
    for row in curve:
        for side, budget in (("seen", 2), ("unseen", 2), ("search", 3)):
            found = row[side]
            assert found["budget"] == budget and found["num_goals"] == 4
            assert found["low"] <= found["dsr"] <= found["high"] and found["worst"] <= found["dsr"]
    page = (attacked_run / "90-report/report.html").read_text("utf-8")
    assert "Rounds of attack and repair" in page and "Goals that hold" in page
    assert json.loads((attacked_run / "90-report/card.json").read_text("utf-8"))["rounds"] == curve


def test_a_second_run_skips_every_stage_of_the_rounds(attacked_run: Path) -> None:
    again = safekeel(*tiny_arguments(attacked_run, *SMALL), timeout=300)
    lines = [line for line in again.stderr.splitlines() if line.startswith("rounds/")]
    assert len(lines) == 7 and all(line.endswith("up to date, skipped") for line in lines)
