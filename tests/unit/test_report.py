"""Card, page and figures of a made-up run: the schema, hostile text, hidden text, missing and malformed artefacts."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from safekeel.artifact import Stage
from safekeel.errors import DataError
from safekeel.records import Score
from safekeel.report import labels, svg
from safekeel.report.card import build_card
from safekeel.report.figures import NARROW, WIDE, Mark, Rate, tradeoff
from safekeel.report.render import render
from safekeel.report.run import STAGE, VERSION, ReportConfig, run
from tests.synthetic_run import FAMILIES, HARMFUL_ANSWER, RISKY_REQUEST, SAFE, UNSAFE, RunMaker

HOSTILE = (
    "</script><script>alert(1)</script><img src=x onerror=alert(1)> ]]> & \" ' `|` "
    "\x00\x07\x1b[2J \u202e evil \u2028 {{ 7*7 }}"
)
VOID = {"meta", "br", "img", "link", "input", "hr"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with its report rendered."""
    folder = RunMaker().write(tmp_path_factory.mktemp("made-up") / "nano")
    render(folder, folder / "90-report")
    return folder


class Page(HTMLParser):
    """Checks nesting and collects what is shown without opening anything."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.urls: list[str] = []
        self.shown: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.urls += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "action")]
        assert not [name for name, _ in attrs if name.startswith("on")], attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "details" not in self.open or "summary" in self.open:
            self.shown.append(data)


def page_of(html: str) -> Page:
    page = Page()
    page.feed(html)
    page.close()
    assert not page.open
    return page


def test_card_has_the_published_schema(finished: Path) -> None:
    card = json.loads((finished / "90-report/card.json").read_text("utf-8"))
    assert set(card) >= {"run", "scores", "comparisons", "gate", "seconds", "hardware", "packages"}
    assert card["run"] == "nano" and card["gate"]["verdict"] in ("GO", "NO-GO", "INCONCLUSIVE")
    assert [Score.model_validate(row) for row in card["scores"]]
    keys = {"benchmark", "metric", "before", "after", "difference", "low", "high", "p", "num_pairs", "verdict"}
    assert all(keys <= set(row) for row in card["comparisons"])
    assert all({"name", "value", "low", "high", "threshold", "verdict"} <= set(rule) for rule in card["gate"]["rules"])
    assert set(card["seconds"]) == {"05-eval-before", "20-sft", "30-select", "40-rl", "60-eval-after"}
    assert all(value >= 0 for value in card["seconds"].values())
    assert card["packages"]["python"] and card["hardware"]["num_cpus"]
    assert build_card(finished) == card


def test_comparisons_pair_the_same_items(finished: Path) -> None:
    card = json.loads((finished / "90-report/card.json").read_text("utf-8"))
    rows = {(row["benchmark"], row["metric"]): row for row in card["comparisons"]}
    scores = [Score.model_validate(row) for row in card["scores"] if row["slice"] == "all"]
    for when, model in (("before", "base"), ("after", "final")):
        values = {(s.benchmark, s.metric): s.value for s in scores if s.model == model}
        shared = set(rows) & set(values)
        assert {("nano-refuse", "dsr"), ("jailbreak-unseen", "dsr"), ("nano-answer", "over_refusal")} <= shared
        assert all(rows[key][when] == pytest.approx(values[key]) for key in shared)
    plain, harmless, pooled = rows["nano-refuse", "dsr"], rows["nano-answer", "over_refusal"], rows["capability", "acc"]
    assert plain["verdict"] == "better" and plain["low"] <= plain["difference"] <= plain["high"]
    assert harmless["verdict"] in ("worse", "unclear")  # lower is better: it cannot be called better for having risen
    assert pooled["num_pairs"] == 120 and pooled["verdict"] in ("PASS", "BREACH", "INCONCLUSIVE")
    assert rows["jailbreak-seen", "dsr"]["num_pairs"] == 3 * 8  # families that do not count are in no pool
    assert all(row["p"] is not None and row["p_holm"] >= row["p"] for row in card["comparisons"])
    assert "jailbreak-word_reversal" in {row["benchmark"] for row in card["scores"]}


def test_where_too_little_is_known_no_share_and_no_change_is_claimed(tmp_path: Path) -> None:
    unread = UNSAFE.__class__(**{**vars(UNSAFE), "cannot_judge": 0.9})
    folder = RunMaker(before=unread).write(tmp_path / "run")
    card = build_card(folder)
    row = next(r for r in card["comparisons"] if (r["benchmark"], r["metric"]) == ("nano-refuse", "dsr"))
    assert row["before"] is None and row["after"] > 0.9 and row["num_unknown"] > 0
    assert row["difference"] is None and row["p"] is None and row["verdict"] == "unclear"
    for path in render(folder, tmp_path / "out"):
        assert path.stat().st_size


def test_lower_is_better_is_shown_and_judged_so(finished: Path, tmp_path: Path) -> None:
    html = (finished / "90-report/report.html").read_text("utf-8")
    assert "refused though harmless ↓" in html and "no harmful answer ↑" in html
    worse = RunMaker(before=UNSAFE, after=UNSAFE.__class__(**{**vars(SAFE), "over_refuses": 0.9})).write(tmp_path / "r")
    rows = {(row["benchmark"], row["metric"]): row for row in build_card(worse)["comparisons"]}
    assert rows["nano-answer", "over_refusal"]["verdict"] == "worse"


def test_the_page_is_self_contained_and_well_formed(finished: Path) -> None:
    page = page_of((finished / "90-report/report.html").read_text("utf-8"))
    assert all(url.startswith("#") for url in page.urls)
    assert {url[1:] for url in page.urls} <= set(page.ids)
    assert not {"script", "link", "iframe", "object", "embed", "img"} & set(page.tags)
    shown = " ".join(page.shown)
    for text in ("Gate", "Before and after", "Attacks", "Risk categories", "Thinking and answer", "Training", "Limits"):
        assert text in shown
    assert "synthetic world" in shown and "word reversal" in shown and "国家安全" in shown


def test_texts_of_risky_requests_are_hidden_until_opened(finished: Path) -> None:
    html = (finished / "90-report/report.html").read_text("utf-8")
    shown = " ".join(page_of(html).shown)
    for text in (RISKY_REQUEST, HARMFUL_ANSWER):
        assert text in html and text not in shown
    assert "<details open" not in html
    markdown = (finished / "90-report/report.md").read_text("utf-8")
    assert RISKY_REQUEST not in markdown and HARMFUL_ANSWER not in markdown


def test_hostile_text_is_inert_everywhere(tmp_path: Path) -> None:
    texts = dict.fromkeys(("request", "answer", "thought", "model"), HOSTILE)
    folder = RunMaker(texts=texts).write(tmp_path / "run <b>&")
    for path in render(folder, tmp_path / "out"):
        text = path.read_text("utf-8")
        if path.suffix == ".json":
            json.loads(text)
            continue
        assert "<script" not in text and "<img" not in text
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u202e]", text), path
        if path.suffix == ".svg":
            ElementTree.fromstring(text)
    html = (tmp_path / "out/report.html").read_text("utf-8")
    page = page_of(html)
    assert "script" not in page.tags and "img" not in page.tags
    assert "&lt;script&gt;alert(1)" in html and "[U+202E]" in html and "{{ 7*7 }}" in html
    assert "run \\<b\\>&amp;" in (tmp_path / "out/report.md").read_text("utf-8").splitlines()[0]


def test_figures_stand_alone_and_fit_both_widths(finished: Path) -> None:
    names = {path.stem for path in (finished / "90-report").glob("*.svg")}
    assert names == {"safety_capability", "attacks", "categories", "training", "training_limits"}
    for name in names:
        root = ElementTree.parse(finished / f"90-report/{name}.svg").getroot()
        assert root.attrib["aria-label"] and root.find("{http://www.w3.org/2000/svg}style") is not None
    heat = (finished / "90-report/categories.svg").read_text("utf-8")
    assert all(f"A.{area}.{letter} " in heat for area, letter in ((1, "a"), (2, "i"), (3, "e"), (4, "g"), (5, "b")))
    bars = (finished / "90-report/attacks.svg").read_text("utf-8")
    assert all((labels.family_name(name) in bars) == eligible for name, (eligible, _) in FAMILIES.items())
    html = (finished / "90-report/report.html").read_text("utf-8")
    assert html.count('viewBox="0 0 720 ') == html.count('viewBox="0 0 360 ') == 5


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("capability", [0.02, 0.5, 0.985, 1.0])
def test_the_plane_holds_any_share(width: float, capability: float) -> None:
    marks = [
        Mark("Base model", "base", Rate(0.0, 0.0, 0.03), Rate(capability, max(0, capability - 0.01), capability)),
        Mark("Selected (validation set)", "chosen", Rate(1.0), Rate(1.0)),
        Mark("After balanced RL", "final", Rate(1.0, 0.97, 1.0), Rate(capability, capability, capability)),
    ]
    root = ElementTree.fromstring(tradeoff(marks, 0.01, width))
    height = float(root.attrib["viewBox"].split()[3])
    for shape in root.iter():
        for key, limit in (("cx", width), ("x", width), ("cy", height), ("y", height)):
            assert -1 <= float(shape.get(key, 0)) <= limit + 1, (shape.tag, shape.attrib)


def test_rendering_twice_gives_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    for path in render(finished, tmp_path):
        assert path.read_bytes() == (finished / "90-report" / path.name).read_bytes()


def test_the_report_stage_writes_a_manifest_and_sees_other_rules(finished: Path, tmp_path: Path) -> None:
    def stage(config: ReportConfig) -> Stage:
        inputs = [finished / "05-eval-before", finished / "60-eval-after"]
        return Stage(tmp_path / "90-report", STAGE, VERSION, config.model_dump(mode="json"), inputs, 0, "safekeel run")

    config = ReportConfig()
    run(config, stage(config), finished)
    assert stage(config).is_current()
    rules = tmp_path / "rules.toml"
    packaged = Path(labels.__file__).with_name("rules.toml").read_text("utf-8")
    rules.write_text(packaged.replace("min = 0.99", "min = 0.98"), "utf-8")
    assert not stage(ReportConfig(rules=rules)).is_current()


def test_an_unfinished_run_is_inconclusive_and_says_why(finished: Path, tmp_path: Path) -> None:
    for name in ("run.json", "05-eval-before", "20-sft"):
        copy = shutil.copytree if (finished / name).is_dir() else shutil.copy
        copy(finished / name, tmp_path / name)
    (tmp_path / "60-eval-after").mkdir()
    shutil.copy(finished / "60-eval-after/prompts.jsonl", tmp_path / "60-eval-after")  # no manifest: not finished
    card = build_card(tmp_path)
    assert card["gate"]["verdict"] == "INCONCLUSIVE" and card["comparisons"] == []
    assert all("60-eval-after has not finished" in rule["reason"] for rule in card["gate"]["rules"])
    render(tmp_path, tmp_path / "out")
    assert "INCONCLUSIVE" in (tmp_path / "out/report.md").read_text("utf-8")
    page_of((tmp_path / "out/report.html").read_text("utf-8"))


def test_without_rl_the_page_says_so(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    (folder / "40-rl/metrics.jsonl").unlink()
    (folder / "40-rl/config.json").write_text('{"num_steps": 0}', "utf-8")
    render(folder, tmp_path / "out")
    html = (tmp_path / "out/report.html").read_text("utf-8")
    assert "RL was skipped" in html and "Final model" in html
    assert not (tmp_path / "out/training.svg").exists()


def test_the_ablation_is_shown(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    rows = {"base": {"defence": 0.02, "capability": 0.98}, "+ balanced RL": {"defence": 0.998, "capability": None}}
    (folder / "ablation.json").write_text(json.dumps({"rows": rows}), "utf-8")
    render(folder, tmp_path / "out")
    for name in ("report.html", "report.md"):
        text = (tmp_path / "out" / name).read_text("utf-8")
        assert "balanced RL" in text and "99.8%" in text and "n/a" in text


def spoil(folder: Path, name: str, content: str | None) -> None:
    path = folder / name
    if content is None:
        path.unlink()
    else:
        path.write_text(content, "utf-8")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("05-eval-before/verdicts.jsonl", None, "verdicts.jsonl does not exist"),
        ("05-eval-before/scores.json", None, "safekeel score"),
        ("60-eval-after/scores.json", "[{]", "scores.json: malformed JSON"),
        ("60-eval-after/scores.json", '[{"model": "m"}]', "scores.json: 0.benchmark: missing"),
        ("60-eval-after/completions.jsonl", "{broken\n", "completions.jsonl:1"),
        ("60-eval-after/verdicts.jsonl", '{"prompt_id": 3}\n', "verdicts.jsonl:1"),
        ("60-eval-after/completions.jsonl", "", "do not belong together"),
        ("05-eval-before/families.json", '{"fiction": {"eligible": "perhaps"}}', "families.json"),
        ("30-select/candidates.json", '{"candidates": [{"name": "c"}]}', "candidates.json"),
        ("40-rl/metrics.jsonl", '{"step": 1}\nnonsense\n{"step": 2}\n', "metrics.jsonl:2"),
        ("ablation.json", '{"rows": [1]}', "ablation.json"),
        ("run.json", "[]", "run.json"),
        ("20-sft/manifest.json", "{", "manifest.json"),
    ],
)
def test_missing_and_malformed_artefacts_are_named(
    finished: Path, tmp_path: Path, name: str, content: str | None, said: str
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    spoil(folder, name, content)
    with pytest.raises(DataError) as error:
        render(folder, tmp_path / "out")
    assert said in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_half_written_row_of_a_killed_training_is_left_out(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    with (folder / "40-rl/metrics.jsonl").open("a") as file:
        file.write('{"step": 61, "lam')
    assert build_card(folder) == build_card(finished) | {"run": "nano"}


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir(), lambda path: path.write_text("x")])
def test_no_run_folder(tmp_path: Path, make: object) -> None:
    make(tmp_path / "nothing")  # type: ignore[operator]
    with pytest.raises(DataError, match="expected a run folder"):
        build_card(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1.0, "100%"), (0.0, "0%"), (0.9996, "99.9%"), (0.0003, "0.1%"), (0.125, "12.5%"), (0.5, "50.0%"), (None, "n/a")],
)
def test_percent_never_rounds_to_certainty(value: float | None, shown: str) -> None:
    assert labels.percent(value) == shown


@pytest.mark.parametrize(("value", "shown"), [(0.9681, "+96.8"), (-0.0149, "−1.5"), (-0.0001, "0.0"), (None, "n/a")])
def test_points(value: float | None, shown: str) -> None:
    assert labels.points(value) == shown


def test_ticks_are_round_numbers_within_the_range() -> None:
    assert svg.ticks(0.93, 1.0, 4) == pytest.approx([0.94, 0.96, 0.98, 1.0])
    for low, high in ((0.0, 1.06), (0.93, 1.0), (0.0, 4.2), (-0.02, 0.02)):
        found = svg.ticks(low, high, 5)
        assert 1 <= len(found) <= 5 and all(low <= level <= high + 1e-9 for level in found)
