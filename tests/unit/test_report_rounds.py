"""The curve of rounds: what is drawn, what the table says, what a blind reader is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safekeel.report import curves, rounds
from safekeel.report.evidence import read_evidence


def search(dsr: float, budget: int, **broken: int) -> dict[str, Any]:
    return {
        "budget": budget,
        "num_goals": 40,
        "dsr": dsr,
        "low": max(0.0, dsr - 0.1),
        "high": min(1.0, dsr + 0.05),
        "worst": dsr / 2,
        "refused_per_call": dsr,
        "unscored_per_call": 0.1,
        "median_queries_to_success": "1" if dsr < 0.5 else f"> {budget}",
        "broken_by": broken,
        "leak": 0.0,
        "slots_busy": 0.9,
    }


CURVE = [
    {"round": "base", "model": "m", "seen": search(0.0, 20, fiction=30, role_play=10), "search": search(0.0, 100)},
    {"round": "00", "model": "m", "seen": search(0.8, 20, fiction=8), "search": search(0.5, 100, role_play=20)},
    {"round": "01", "model": "m", "seen": search(1.0, 20), "search": search(0.9, 100, payload_split=3, fiction=1)},
]


def test_rounds_are_drawn_without_the_base_and_without_searches_that_were_not_run() -> None:
    holds, refused = rounds.panels(CURVE)
    assert [curve.name for curve in holds.curves] == ["seen families, 20 queries", "all families, 100 queries"]
    assert holds.curves[0].points == [(0.0, 0.8), (1.0, 1.0)] and holds.axis_of_x == "round"
    assert refused.curves[1].points == [(0.0, 0.5), (1.0, 0.9)]
    drawn = curves.draw([holds, refused], rounds.described(CURVE))
    assert ">round<" in drawn and ">step<" not in drawn and ">100%<" in drawn
    assert rounds.panels([]) == [] and rounds.panels(CURVE[:1]) == []


def test_the_table_has_a_line_per_round_and_search_with_its_worst_case() -> None:
    lines = rounds.table(CURVE)
    assert [(line.round, line.budget, line.holds, line.worst) for line in lines] == [
        ("base", 20, "0%", "0%"),
        ("base", 100, "0%", "0%"),
        ("0", 20, "80.0%", "40.0%"),
        ("0", 100, "50.0%", "25.0%"),
        ("1", 20, "100%", "50.0%"),
        ("1", 100, "90.0%", "45.0%"),
    ]
    assert lines[0].broken_by == "fiction 30, role play 10" and lines[4].broken_by == "none"
    assert lines[5].broken_by == "payload split 3, fiction 1" and lines[5].median == "> 100"


def test_the_figure_is_told_in_words() -> None:
    told = rounds.described(CURVE)
    assert "round 1, all families: 90.0% hold at 100 queries" in told and "base" not in told


def test_training_and_selection_are_those_of_the_last_round(tmp_path: Path) -> None:
    """The model at the end is the last round's: its candidates, its losses, and the time of every round."""

    def station(folder: str, name: str, loss: float) -> None:
        for stage in ("20-sft", "30-select"):
            (tmp_path / folder / stage).mkdir(parents=True)
            (tmp_path / folder / stage / "manifest.json").write_text(json.dumps({"config_digest": ""}), "utf-8")
        candidate = {"name": name, "safety": 1, "over_refusal": 0, "capability": 1, "pareto": True, "chosen": True}
        (tmp_path / folder / "30-select/candidates.json").write_text(json.dumps({"candidates": [candidate]}), "utf-8")
        (tmp_path / folder / "20-sft/metrics.jsonl").write_text(json.dumps({"step": 1, "loss": loss}) + "\n", "utf-8")

    station(".", "first", 3.0)
    station("rounds/01", "last", 2.0)
    (tmp_path / "run.json").write_text("{}", "utf-8")
    assert read_evidence(tmp_path).selection.candidates[0].name == "first"  # killed before the rounds' end
    row = {"round": "01", "model": "rounds/01/30-select/model"}
    (tmp_path / "rounds/curve.json").write_text(json.dumps([row]), "utf-8")
    found = read_evidence(tmp_path)
    assert found.selection.candidates[0].name == "last" and found.sft_metrics == [{"step": 1, "loss": 2.0}]
    assert set(found.manifests) == {"20-sft", "30-select", "rounds/01/20-sft", "rounds/01/30-select"}
