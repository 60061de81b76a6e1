"""The table and the figure of ways of training: means and spreads by hand, one label each, nothing over anything."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safekeel.errors import DataError
from safekeel.report.methods import methods_figure, methods_of, methods_table, read_rows
from safekeel.report.placing import Box, Wanted, around, leader, place

SVG = "{http://www.w3.org/2000/svg}"


def row(method: str, seed: int, change: float, unseen: float, over: float = 0.02, **more: Any) -> dict[str, Any]:
    """A measured row; the interval is half a point to either side."""
    found = {"value": change, "low": change - 0.005, "high": change + 0.005, **more}
    metrics = {"plain": 0.99, "seen": 0.98, "unseen": unseen, "aware": 0.97, "over_refusal": over, "answered": 0.9}
    metrics |= {"capability_change": found, "over_refusal_rise": over - 0.01}
    return {"method": method, "seed": seed, "metrics": metrics, "tokens": 100_000 + seed, "cpu_seconds": 60.0}


ROWS = [
    row("base", 0, 0.0, 0.02, 0.01),
    *(row("+ replay", seed, -0.02 - 0.01 * seed, 0.90 + 0.01 * seed) for seed in range(3)),
    *(row("GRPO | constrained", seed, -0.002, 0.95) for seed in range(3)),
    row("safety <only>", 0, -0.4, 0.999, 0.6),
]


def sixteen(seed: int) -> list[dict[str, Any]]:
    """As many methods as the issue asks for, most of them close together."""
    rng = random.Random(seed)
    found = [row("base", 0, 0.0, 0.0)]
    for index in range(16):
        change, unseen = rng.choice([0.0, -0.002, -0.3]) + rng.gauss(0, 0.004), rng.uniform(0.9, 1)
        found += [
            row(f"method {index:02d}", s, change + rng.gauss(0, 0.001), min(1, unseen + rng.gauss(0, 0.005)))
            for s in range(3)
        ]
    return found


def test_the_table_has_mean_and_range_over_seeds() -> None:
    lines = methods_table(ROWS).splitlines()
    assert len(lines) == 2 + 4 and len({line.replace("\\|", "").count("|") for line in lines}) == 1
    replay, constrained = lines[3], lines[4]
    assert "| 91.0 (90.0 … 92.0) |" in replay
    assert "| −3.0 (−4.0 … −2.0) | −4.5 … −1.5 | 3 BREACH |" in replay
    assert "| 100,001 (100,000 … 100,002) | 60 | 3 |" in replay
    assert constrained.startswith("| GRPO \\| constrained |") and "| −0.2 | −0.7 … +0.3 | 3 PASS |" in constrained
    assert "safety \\<only\\>" in lines[5]  # one seed: no range, and a verdict without a count
    assert "| 60.0 |" in lines[5] and "| BREACH |" in lines[5] and "…" not in lines[5].split("| −40.0 |")[0]


def test_the_gates_own_verdict_outranks_the_interval() -> None:
    found = methods_of([row("a", 0, 0.0, 0.9, verdict="INCONCLUSIVE"), row("b", 0, 0.0, 0.9), row("c", 0, -0.008, 0.9)])
    assert [method.standings() for method in found] == [["INCONCLUSIVE"], ["PASS"], ["INCONCLUSIVE"]]
    assert [method.holds() for method in found] == [False, True, False]
    over = methods_of([row("a", 0, 0.0, 0.9, over=0.05)])[0]
    assert not over.holds()  # four points more refusals than the base


def test_what_was_not_measured_is_empty_and_never_holds() -> None:
    bare = [{"method": "old", "seed": 0, "metrics": {"plain": 0.5}}, row("b", 0, 0.0, 0.9)]
    assert methods_table(bare).splitlines()[2].startswith("| old | 50.0 |  |  |")
    assert "n/a" in methods_table(bare).splitlines()[2]
    assert not methods_of(bare)[0].holds()
    assert "old" not in methods_figure(bare)
    with pytest.raises(DataError, match="nothing can be drawn"):
        methods_figure(bare[:1])


def test_the_figure_has_this_structure() -> None:
    """One mark and label per method, a ring and spoke per seed of those with several, one zone."""
    root = ElementTree.fromstring(methods_figure(ROWS))
    drawn = Counter((shape.tag.removeprefix(SVG), shape.get("class")) for shape in root.iter() if shape.get("class"))
    legend = {("circle", "good"): 1, ("circle", "was ring"): 1, ("circle", "hollow"): 1}
    golden = {
        ("rect", "paper"): 1,
        ("rect", "zone"): 1,
        ("polygon", "hollow"): 1,  # the base
        ("circle", "good"): 1,  # GRPO: holds in all seeds
        ("circle", "was ring"): 2,
        ("circle", "hollow"): 6,
        ("line", "spoke"): 6,
        ("line", "ok-line thin"): 1,
        ("line", "was-line thin"): 3,
        ("text", "b s halo"): 1,
        ("text", "s halo"): 3,
        ("tspan", "m"): 4,
    }
    assert {key: drawn[key] for key in golden} == {key: golden[key] + legend.get(key, 0) for key in golden}
    labels = {text.text for text in root.iter(f"{SVG}text") if "halo" in (text.get("class") or "")}
    assert labels == {"base", "+ replay", "GRPO | constrained", "safety <only>"}
    said = root.attrib["aria-label"]
    assert "+ replay: defence 91.0%, capability −3.0 points (−4.5 to −1.5), over-refusal 2.0%" in said
    words = " ".join(text.text or "" for text in root.iter(f"{SVG}text"))
    assert "Defence under attacks never seen in training, %" in words and "Capability change against the base" in words


def test_a_mark_is_the_larger_the_more_is_refused() -> None:
    root = ElementTree.fromstring(methods_figure([row("a", 0, 0.0, 0.9, 0.0), row("b", 0, -0.1, 0.9, 0.64)]))
    radii = [float(shape.attrib["r"]) for shape in root.iter(f"{SVG}circle") if shape.find(f"{SVG}title") is not None]
    assert radii == [5.0, pytest.approx(5 + 11 * 0.8, abs=0.05)]


@pytest.mark.parametrize("seed", range(3))
def test_sixteen_methods_have_sixteen_labels_of_which_none_overlap(seed: int) -> None:
    rows = sixteen(seed)
    text = methods_figure(rows)
    assert text == methods_figure(rows) and "No room" not in text
    root = ElementTree.fromstring(text)
    boxes = []
    for label in root.iter(f"{SVG}text"):
        if "halo" in (label.get("class") or ""):
            x, y = float(label.attrib["x"]), float(label.attrib["y"])
            boxes.append(Box(x, y - 11, x + 6 * len("".join(label.itertext())), y + 3))
    assert len(boxes) == 17
    assert not [1 for i, one in enumerate(boxes) for two in boxes[:i] if one.meets(two)]
    assert all(box.left >= 0 and box.right <= 720 for box in boxes)


MARKS = st.tuples(st.floats(20, 380), st.floats(20, 280), st.floats(2, 16), st.floats(20, 120), st.just(14.0))


@settings(max_examples=30, deadline=None)
@given(st.lists(MARKS.map(lambda each: Wanted(*each)), min_size=1, max_size=9))
def test_labels_stay_in_the_frame_and_cover_no_mark_and_no_label(wanted: list[Wanted]) -> None:
    frame = Box(0, 0, 400, 300)
    found = place(wanted, [], frame)
    boxes = [box for box in found if box is not None]
    marks = [around(each.x, each.y, each.radius) for each in wanted]
    for index, box in enumerate(boxes):
        assert box.within(frame) and not any(box.meets(other) for other in [*marks, *boxes[:index]])
    for each, box in zip(wanted, found, strict=True):
        if box is not None:
            *_, x, y = leader(each, box)
            assert box.left <= x <= box.right and box.top <= y <= box.bottom


def test_a_label_without_room_is_said_below_the_figure() -> None:
    assert place([Wanted(50, 50, 5, 40, 14)], [], Box(45, 45, 55, 55)) == [None]
    crowd = [row("an unusually long name of a method, " + "x" * 120, 0, 0.0, 0.9)]
    text = methods_figure(crowd)
    assert "No room for a label: an unusually long" in text


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "no rows"),
        ([{"method": "a"}], "0.seed: missing"),
        ([row("a", 0, 0.0, 0.9)] * 2, "'a' with seed 0 occurs twice"),
        ([row("a", 0, 0.0, 0.9) | {"metrics": {"capability_change": {"value": 1}}}], "low: missing"),
    ],
)
def test_malformed_rows_are_named(rows: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(DataError, match=said):
        methods_table(rows)


def test_rows_are_read_from_either_kind_of_file(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text(json.dumps(ROWS), "utf-8")
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(each) + "\n" for each in ROWS), "utf-8")
    assert read_rows(tmp_path / "list.json") == read_rows(tmp_path / "rows.jsonl") == ROWS
    (tmp_path / "broken.jsonl").write_text('{"method": \n', "utf-8")
    for name in ("broken.jsonl", "nothing.jsonl"):
        with pytest.raises(DataError, match=name):
            read_rows(tmp_path / name)
