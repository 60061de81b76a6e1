"""Selection and warnings: what `train/select.py` writes is shown, an unqualified choice cannot be overlooked, and a
reward given by the judge that measures is said."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from pydantic import TypeAdapter

from safekeel.report.card import build_card
from safekeel.report.figures import NARROW, WIDE
from safekeel.report.render import render
from safekeel.report.selected import Selection
from safekeel.report.selection_plot import draw
from safekeel.train.bounds import Bounds, Change, Measured, Share, choose_by_bounds
from safekeel.train.candidates import Source
from safekeel.train.select import Candidate, SelectConfig, as_table
from tests.synthetic_run import FEW, RunMaker

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "<script>alert(1)</script> \u202e `|` {{ 7*7 }}"
EVALUATED = "grammar 1"  # the judge of the made-up evaluations


def written(losses: dict[str, float], rule: str = "bounds") -> dict[str, Any]:
    """`candidates.json` as the stage writes it; two checkpoints at three alphas, safer the further from the base."""
    config = SelectConfig(rule=rule, alphas=(0.25, 0.5, 1.0))  # type: ignore[arg-type]
    sources, found, measured = [], [], []
    for checkpoint, loss in losses.items():
        for alpha in config.alphas:
            name = checkpoint if alpha == 1 else f"{checkpoint}@{alpha:g}"
            cost, safety = alpha * loss, 0.5 + 0.4 * alpha
            change = Change(cost, cost - 0.004, cost + 0.004, 400, 380.0, 4)
            rise = Change(0.0, -0.004, 0.004, 200, 200.0, 0)
            sources.append(Source(Path(checkpoint), alpha, name))
            found.append(Candidate(name, safety, 0.03, 0.99 - cost))
            bounds = Bounds(Share(safety, safety - 0.05, 112, 110.0), rise, change, {"nano-arithmetic": change})
            measured.append(Measured(name, alpha, bounds))
    budgets = config.budgets(len(sources))
    choice = choose_by_bounds(measured, budgets)
    base = [Candidate("base", 0.02, 0.03, 0.99)]
    if rule == "slack":
        choice = type(choice)(found[-1].name, True, "rule slack: the safest within the slacks.")
        measured, base = [], []
    table = as_table(config, sources, found, measured, choice, budgets, ["too few items"], base)
    return json.loads(json.dumps(table))


GOOD, BAD = {"checkpoint-1": 0.002, "checkpoint-2": 0.02}, {"checkpoint-1": 0.2, "checkpoint-2": 0.3}


def texts(folder: Path, out: Path) -> tuple[str, str, dict[str, Any]]:
    """HTML, Markdown and card of a run."""
    render(folder, out)
    html, markdown = ((out / f"report.{kind}").read_text("utf-8") for kind in ("html", "md"))
    return html, markdown, json.loads((out / "card.json").read_text("utf-8"))


def test_an_unqualified_choice_is_said_everywhere_and_moves_no_verdict(tmp_path: Path) -> None:
    table = written(BAD)
    assert table["qualified"] is False
    html, markdown, card = texts(RunMaker(FEW, candidates=table).write(tmp_path / "bad"), tmp_path / "out")
    assert html.count('class="caution"') == 3  # beside the verdict, at the gate, at the selection
    assert f"{table['chosen']} was selected and is not qualified." in html and "NO candidate qualifies" in html
    assert "was selected and is NOT qualified" in markdown and "> **Warning: The selected model is not" in markdown
    assert card["selection"]["qualified"] is False and card["selection"]["reason"] == table["reason"]
    (warning,) = card["gate"]["warnings"]
    assert warning.startswith("The selected model is not qualified. NO candidate") and "RL went on from it" in warning
    good = build_card(RunMaker(FEW, candidates=written(GOOD)).write(tmp_path / "good"))
    assert good["gate"] == card["gate"] | {"warnings": []}


def test_a_qualified_choice_shows_rule_bounds_and_front(tmp_path: Path) -> None:
    table = written(GOOD)
    html, markdown, card = texts(RunMaker(FEW, candidates=table).write(tmp_path / "run"), tmp_path / "out")
    assert table["qualified"] is True and table["chosen"] == "checkpoint-1"
    assert "caution" not in html.partition("</style>")[2] and "NOT qualified" not in markdown
    for text in (html, markdown):
        assert "the upper 95% bound of its capability loss is at most 1 point" in text
        assert "loss ≤ 0.6 points" in text and "rise ≤ 0.4 points" in text and "≥ 85.0%" in text
        assert "too few items" in text and "INCONCLUSIVE" in text and "BREACH" in text
    assert [row["pareto"] for row in card["selection"]["candidates"]] == [True] * 3 + [False] * 3
    root = ElementTree.parse(tmp_path / "out/candidates.svg").getroot()
    classes = [(shape.tag.removeprefix(SVG), shape.get("class")) for shape in root.iter()]
    assert classes.count(("circle", "chosen")) == 1 + 1  # and in the legend
    assert classes.count(("path", "spoke")) == 2  # one line per checkpoint through its alphas
    assert classes.count(("circle", "now ring")) == 3 and classes.count(("path", "way")) == 1
    assert "checkpoint-1: safety 90.0%" in root.attrib["aria-label"] and "at worst −0.6" in root.attrib["aria-label"]
    words = " ".join(text.text or "" for text in root.iter(f"{SVG}text"))
    assert "Capability change against the base, points" in words and "checkpoint-1, chosen" in words


def test_without_bounds_the_slacks_are_told_and_alphas_still_drawn(tmp_path: Path) -> None:
    html, _, card = texts(RunMaker(FEW, candidates=written(GOOD, "slack")).write(tmp_path / "run"), tmp_path / "out")
    assert "at most 1 point of capability below the best one and at most 2 points of over-refusal" in html
    assert card["selection"]["rule"] == "slack" and card["selection"]["budgets"] is None
    svg = (tmp_path / "out/candidates.svg").read_text("utf-8")
    assert "Capability: right answers" in svg and "breaks a budget" not in svg and 'class="zone"' not in svg


def test_an_old_selection_is_rendered_without_a_rule(tmp_path: Path) -> None:
    html, markdown, card = texts(RunMaker(FEW).write(tmp_path / "run"), tmp_path / "out")
    assert "The rule that chose: not recorded." in html and "The rule that chose: not recorded." in markdown
    assert card["selection"]["qualified"] is None and card["gate"]["warnings"] == []
    assert not (tmp_path / "out/candidates.svg").exists()  # the first figure has these checkpoints


def test_a_hostile_reason_is_inert(tmp_path: Path) -> None:
    table = written(BAD) | {"reason": HOSTILE, "notes": [HOSTILE], "chosen": HOSTILE}
    table["candidates"][0]["name"] = HOSTILE
    html, markdown, _ = texts(
        RunMaker(FEW, candidates=table, reward_judge=HOSTILE).write(tmp_path / "run"), tmp_path / "out"
    )
    for text in (html, markdown, (tmp_path / "out/candidates.svg").read_text("utf-8")):
        assert not re.search(r"(?<!\\)<script", text) and "\u202e" not in text
    assert "{{ 7*7 }}" in html


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("losses", [GOOD, BAD, {"c": 0.0}])
def test_everything_drawn_lies_within_the_figure(width: float, losses: dict[str, float]) -> None:
    root = ElementTree.fromstring(draw(TypeAdapter(Selection).validate_python(written(losses)), width))
    height = float(root.attrib["viewBox"].split()[3])
    for shape in root.iter():
        for key, limit in (("cx", width), ("x", width), ("x1", width), ("x2", width), ("cy", height), ("y", height)):
            assert -1 <= float(shape.get(key, 0)) <= limit + 1, (shape.tag, shape.attrib)


@pytest.mark.parametrize(
    ("reward", "said"),
    [
        (EVALUATED, "The reward was given by the judge that measures."),
        ("grammar 2", "by a relative of the judge that measures"),
        ("vote:linear,grammar 99", "by a relative of the judge that measures"),
        ("linear 1", None),
        (None, None),
    ],
)
def test_the_judge_of_the_reward_is_compared_with_the_one_that_measures(
    tmp_path: Path, reward: str | None, said: str | None
) -> None:
    html, markdown, card = texts(RunMaker(FEW, reward_judge=reward).write(tmp_path / "run"), tmp_path / "out")
    assert len(card["gate"]["warnings"]) == (said is not None)
    assert card["rl"]["reward_judge"] == reward
    if said:
        assert said in card["gate"]["warnings"][0]
        assert said.rstrip(".") in html and said.rstrip(".") in markdown
        assert "The verdicts above do not take it into account" in html
    if reward:
        assert f"Reward: by the judge {reward}." in html
