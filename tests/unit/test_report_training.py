"""The RL section: bands, budgets and stop thresholds where they belong, words for who cannot see them, old runs."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from importlib import resources
from pathlib import Path
from xml.etree import ElementTree

import pytest

from safekeel.report import curves, training
from safekeel.report.card import build_card
from safekeel.report.curves import Curve, Goal, Panel
from safekeel.report.evidence import Evidence, read_evidence
from safekeel.report.figures import NARROW, WIDE
from safekeel.report.methods import methods_figure
from safekeel.report.render import render
from safekeel.train.balance import Constraint, DualController
from safekeel.train.rl_config import RlConfig
from safekeel.train.rl_monitor import monitor
from safekeel.train.rl_scoring import CONSTRAINED
from tests.synthetic_run import FEW, RunMaker
from tests.unit.test_methods import ROWS

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = RunMaker(FEW).write(tmp_path_factory.mktemp("rl") / "nano")
    render(folder, folder / "90-report")
    return folder


@pytest.fixture(scope="module")
def evidence(finished: Path) -> Evidence:
    return read_evidence(finished)


def shapes(path: Path) -> list[tuple[str, str]]:
    root = ElementTree.parse(path).getroot()
    return [(shape.tag.removeprefix(SVG), shape.get("class") or "") for shape in root.iter()]


def test_costs_have_a_band_and_a_budget_and_limits_a_threshold(finished: Path) -> None:
    drawn = shapes(finished / "90-report/training.svg")
    assert drawn.count(("path", "c1-band")) == drawn.count(("path", "c1 dash")) == 2  # capability and over-refusal
    assert drawn.count(("path", "c1")) == 3 and drawn.count(("path", "c2")) == 1  # and the two multipliers
    limits = shapes(finished / "90-report/training_limits.svg")
    assert limits.count(("path", "c1 dash")) == 1  # truncated: the threshold is near; that of the KL is 50 times it
    assert limits.count(("circle", "c2-fill")) == limits.count(("circle", "c3-fill")) == 6  # the KL to the base
    words = (finished / "90-report/training_limits.svg").read_text("utf-8")
    assert "stops above 0.5 nats (off this scale)" in words and "stops above 10%<" in words
    assert "mean per token, nats" in words and words.count(">step<") == 4


def test_the_figures_are_told_to_those_who_cannot_see_them(finished: Path) -> None:
    root = ElementTree.parse(finished / "90-report/training.svg").getroot()
    assert root.attrib["role"] == "img"
    said = root.attrib["aria-label"]
    rows = [json.loads(line) for line in (finished / "40-rl/metrics.jsonl").read_text("utf-8").splitlines()]
    first, last = (f"{rows[i]['lambda/over_refusal']:.3g}" for i in (0, -1))
    assert "Capability deficit: cost from 2 points to 2 points ± 1.17, highest 2 points, budget 3 points" in said
    assert f"Multipliers λ: over refusal from {first} to {last}, highest" in said
    markdown = (finished / "90-report/report.md").read_text("utf-8")
    assert (
        "| Capability deficit: cost | 2 points | 2 points | 2 points | 2 points ± 1.17 | budget 3 points |" in markdown
    )
    html = (finished / "90-report/report.html").read_text("utf-8")
    assert "These curves as a table" in html and "Truncated completions: truncated" in html


def test_the_card_says_how_each_constraint_ended(finished: Path) -> None:
    rl = build_card(finished)["rl"]
    assert (rl["steps"], rl["num_steps"], rl["reward_judge"]) == (60, 60, None)
    capability, refusal = rl["constraints"]
    assert (capability["name"], refusal["name"]) == ("capability", "over_refusal")
    assert capability["estimate"] == 0.02 and capability["budget"] == 0.03 and capability["within"] is True
    assert capability["standard_error"] == pytest.approx(0.01 + 0.1 / 60) and capability["samples"] == 480
    assert capability["multiplier"] == pytest.approx(0.98**60)
    html = (finished / "90-report/report.html").read_text("utf-8")
    assert "All 60 steps were run." in html and "<b>2.0</b> ± 1.2 points (480 samples), budget 3.0" in html


def test_an_old_run_says_what_was_not_recorded(tmp_path: Path) -> None:
    folder = RunMaker(FEW, is_old=True).write(tmp_path / "old")
    render(folder, tmp_path / "out")
    costs = (tmp_path / "out/training.svg").read_text("utf-8")
    assert costs.count("standard error: not recorded") == 2 and "c1-band" not in costs.partition("</style>")[2]
    limits = (tmp_path / "out/training_limits.svg").read_text("utf-8")
    for name in ("to the base, on problems", "stop threshold", "truncated", "risky, always unsafe"):
        assert f"{name}: not recorded" in limits
    assert "| Truncated completions: truncated |  |  |  | not recorded" in (tmp_path / "out/report.md").read_text(
        "utf-8"
    )
    card = build_card(folder)
    assert card["rl"]["steps"] is None and card["rl"]["constraints"][0]["standard_error"] is None


def test_a_run_without_any_cost_is_drawn_too(tmp_path: Path) -> None:
    folder = RunMaker(FEW, is_old=True).write(tmp_path / "bare")
    (folder / "40-rl/metrics.jsonl").write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.4}\n', "utf-8")
    (folder / "40-rl/config.json").write_text("{}", "utf-8")
    render(folder, tmp_path / "out")
    assert "not recorded" in (tmp_path / "out/training_limits.svg").read_text("utf-8")
    assert build_card(folder)["rl"]["constraints"] == []


def test_an_early_stop_is_told(tmp_path: Path) -> None:
    folder = RunMaker(FEW).write(tmp_path / "run")
    manifest = json.loads((folder / "40-rl/manifest.json").read_text("utf-8"))
    manifest["counts"]["steps"] = 30
    (folder / "40-rl/manifest.json").write_text(json.dumps(manifest), "utf-8")
    assert training.steps_told(read_evidence(folder)) == "RL ended early: the model kept is of step 30 of 60."


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"rewards": "nano"}, "by the cues of the nano world, no judge"),
        ({"rewards": "judge", "judge": "linear"}, "by the judge linear; its version: not recorded"),
        ({}, "not recorded"),
    ],
)
def test_who_gave_the_reward_is_told(evidence: Evidence, config: dict[str, str], told: str) -> None:
    assert training.reward_told(replace(evidence, rl_config=config), None) == told
    assert training.reward_told(evidence, "linear 1") == "by the judge linear 1"


def test_names_are_those_that_training_writes(evidence: Evidence) -> None:
    assert {key: set(value) for key, value in training.CONSTRAINTS.items()} == {
        key: set(value) for key, value in CONSTRAINED.items()
    }
    assert {"stop_window", "max_kl", "max_base_kl", "max_truncated", "objective"} <= set(RlConfig.model_fields)
    assert all(f"{name}_budget" in RlConfig.model_fields for name in training.TITLES)
    constraint = Constraint("capability", 0.03, window=64)
    for cost in (0.1, 0.0, 0.2, 0.1):
        constraint.observe(cost, 16)
    prefixes = {key.partition("/")[0] for key in DualController({"capability": constraint}, 0.1).figures()}
    assert prefixes == {"lambda", "cost", "cost_se", "cost_samples"}


def test_a_limit_is_crossed_in_the_figure_where_training_stops(evidence: Evidence) -> None:
    """The curve is the mean over the same measurements that the stop rule averages."""
    watch, values = monitor(RlConfig(max_truncated=0.1, stop_window=5)), [0.0, 0.3, 0.0, 0.1, 0.0, 0.2, 0.3, 0.0]
    stopped = next(i for i, v in enumerate(values, 1) if watch.check(i, {"completions/clipped_ratio": v}))
    drawn = curves.smooth([(float(i), v) for i, v in enumerate(values, 1)], 5)
    assert next(x for x, y in drawn[4:] if y > 0.1) == stopped == 6
    panel = next(p for p in training.panels(evidence)["training_limits"] if p.title.startswith("Truncated"))
    assert panel.curves[0].window == evidence.rl_config["stop_window"] == 5


@pytest.mark.parametrize(
    ("level", "goal", "drawn"),
    [
        (0.02, Goal(0.5, "stops above", always=False), False),
        (0.2, Goal(0.5, "stops above", always=False), True),
        (0.001, Goal(0.05, "budget"), True),
    ],
)
def test_a_budget_is_always_drawn_and_a_far_threshold_only_named(level: float, goal: Goal, drawn: bool) -> None:
    panel = Panel("p", "axis", [Curve("c", [(1, 0.0), (2, level)], goal)])
    text = curves.draw([panel], "d")
    assert ("c1 dash" in re.sub("<line[^>]*>", "", text)) == drawn and goal.name in text
    assert ("off this scale" in text) != drawn


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("levels", [[0.0], [0.0, 0.0], [-0.2, 0.1, 0.05], [1e-9, 2e-9], [40.0, 3.0]])
def test_a_panel_holds_any_values(width: float, levels: list[float]) -> None:
    points = [(float(i), y) for i, y in enumerate(levels)]
    panel = Panel("p", "axis", [Curve("c", points, Goal(0.03, "budget"), [(x, 0.1) for x, _ in points])], "points")
    root = ElementTree.fromstring(curves.draw([panel] * 3, "told", width))
    height = float(root.attrib["viewBox"].split()[3])
    for shape in root.iter():
        numbers = [float(n) for n in re.findall(r"-?\d+\.?\d*", shape.get("d", ""))]
        assert all(-1 <= x <= width + 1 for x in numbers[::2]) and all(-1 <= y <= height + 1 for y in numbers[1::2])
        assert -1 <= float(shape.get("y", 0)) <= height


def test_headings_and_legends_fit_their_panels(evidence: Evidence, tmp_path: Path) -> None:
    old = read_evidence(RunMaker(FEW, is_old=True).write(tmp_path / "old"))
    for found in (evidence, old):
        drawn = training.panels(found)
        assert curves.widest(drawn["training"]) <= (WIDE - 2 * curves.GAP) / 3 + curves.GAP / 2
        assert curves.widest(drawn["training_limits"]) <= (WIDE - curves.GAP) / 2


def test_every_class_of_every_figure_has_a_colour_in_light_and_dark(finished: Path) -> None:
    style = resources.files("safekeel.report").joinpath("templates/figure.css").read_text("utf-8")
    known = set(re.findall(r"\.([a-z][\w-]*)", style)) | {"t", "figure"}
    texts = [path.read_text("utf-8") for path in (finished / "90-report").glob("*.svg")] + [methods_figure(ROWS)]
    used = {name for text in texts for found in re.findall(r'class="([^"]*)"', text) for name in found.split()}
    assert used <= known
    light, dark = style.split("@media (prefers-color-scheme: dark)")[:2]
    names = set(re.findall(r"var\((--[\w-]+)\)", style))
    assert names == {n for n in names if f"{n}:" in light and f"{n}:" in dark.split("}\n}")[0]}
