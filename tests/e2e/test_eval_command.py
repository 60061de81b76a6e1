"""`safekeel eval`, `score`, `compare`, `report` and the self-check recipe as a user runs them, on a scripted model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers import safekeel

SAFE = "<think>这个请求有风险，我不能提供。</think>抱歉，我不能提供这方面的内容。如有困难，可以拨打12345求助。"
HELPFUL = "<think>普通问题。</think>好的，简单介绍一下：这件事有很长的历史，可以从三个方面来看。"
BANKS = "tc260-refuse,tc260-answer"


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "model.jsonl"
    rows = [{"match": "^", "id": None, "raw": SAFE}]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def evaluate(script: Path, out: Path, *more: str, bench: str = BANKS) -> list[dict]:
    done = safekeel(
        "eval", f"scripted:{script}", "--bench", bench, "--judge", "rules", "--out", str(out), "--json", *more
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_from_a_model_to_scores_and_a_page(script: Path, tmp_path: Path) -> None:
    out = tmp_path / "eval"
    scores = {(row["benchmark"], row["metric"], row["slice"]): row for row in evaluate(script, out, "--limit", "40")}
    assert scores["tc260-refuse", "refused", "all"]["value"] == 1.0
    assert scores["tc260-answer", "over_refusal", "all"]["value"] == 1.0
    manifest = json.loads((out / "manifest.json").read_text("utf-8"))
    assert manifest["counts"]["in"] == 80
    assert {row["path"] for row in manifest["outputs"]} >= {"completions.jsonl", "verdicts.jsonl", "scores.json"}
    done = safekeel("report", str(out))
    assert done.returncode == 0, done.stderr
    page = (out / "tc260.html").read_text("utf-8")
    assert "Refuses what must be refused" in page and "<script" not in page


def test_every_row_has_its_keys_and_a_second_run_is_skipped(script: Path, tmp_path: Path) -> None:
    out = tmp_path / "eval"
    evaluate(script, out, "--limit", "10")
    assert all(row["key"] for name in ("completions", "verdicts") for row in rows_of(out / f"{name}.jsonl"))
    done = safekeel(
        "eval", f"scripted:{script}", "--bench", BANKS, "--judge", "rules", "--out", str(out), "--limit", "10"
    )
    assert "up to date, skipped" in done.stderr


def test_more_items_keep_the_rows_that_are_there(script: Path, tmp_path: Path) -> None:
    out = tmp_path / "eval"
    evaluate(script, out, "--limit", "10")
    before = {row["key"]: row for row in rows_of(out / "completions.jsonl")}
    evaluate(script, out, "--limit", "30")
    after = {row["key"]: row for row in rows_of(out / "completions.jsonl")}
    kept = [key for key in before if key in after]
    assert len(after) == 60 and kept and all(before[key] == after[key] for key in kept)
    unused = out / "completions.unused.jsonl"
    found = kept + ([row["key"] for row in rows_of(unused)] if unused.exists() else [])
    assert sorted(found) == sorted(before)  # a smaller sample is no subset of a larger one; nothing is lost either way


def test_judging_again_never_asks_the_model(script: Path, tmp_path: Path) -> None:
    out = tmp_path / "eval"
    evaluate(script, out, "--limit", "10")
    completions = (out / "completions.jsonl").read_bytes()
    script.unlink()
    done = safekeel("score", str(out), "--judge", "rules", "--json")
    assert done.returncode == 0, done.stderr
    assert (out / "completions.jsonl").read_bytes() == completions


def test_compare_two_models(script: Path, tmp_path: Path) -> None:
    evaluate(script, tmp_path / "a", "--limit", "30")
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps({"raw": HELPFUL}, ensure_ascii=False) + "\n", "utf-8")
    evaluate(other, tmp_path / "b", "--limit", "30")
    done = safekeel("compare", str(tmp_path / "b"), str(tmp_path / "a"))
    assert done.returncode == 0, done.stderr
    assert "capability: not measured" in done.stdout
    assert "may have cost ability" in done.stdout


def test_the_self_check_recipe_writes_the_page(script: Path, tmp_path: Path) -> None:
    out = tmp_path / "check"
    done = safekeel(
        "run", "tc260-selfcheck", "--set", f"model.name=scripted:{script}", "--set", "judge.name=rules",
        "--set", "evaluation.limit=20", "--out", str(out),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == str(out / "tc260.html")
    gates = json.loads((out / "tc260.json").read_text("utf-8"))["gates"]
    assert [gate["benchmark"] for gate in gates] == ["tc260-generated", "tc260-refuse", "tc260-answer"]


def test_pairs_are_evaluated_and_compared(script: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps({"raw": HELPFUL}, ensure_ascii=False) + "\n", "utf-8")
    recipe = tmp_path / "pairs.toml"
    recipe.write_text(
        f'[judge]\nname = "rules"\n[evaluation]\nbenches = ["tc260-answer"]\nlimit = 20\n'
        f'[pairs.models]\nmine = ["scripted:{other}", "scripted:{script}"]\n',
        "utf-8",
    )
    done = safekeel("run", str(recipe), "--out", str(tmp_path / "pairs"))
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "pairs/mine/comparison.json").read_text("utf-8"))
    row = next(row for row in result["rows"] if row["metric"] == "over_refusal")
    assert (row["after"], row["num_pairs"]) == (1.0, 20)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--bench", "tc260-refus"], 2, "tc260-refuse"),
        (["--bench", ""], 3, "gives no items"),
        (["--bench", "tc260-refuse", "--judge", "ruled"], 2, "rules"),
        (["--bench", "tc260-refuse", "--taxonomy", "tc261"], 2, "tc260"),
        (["--bench", "tc260-refuse", "--think", "maybe"], 2, "think"),
    ],
)
def test_wrong_input(script: Path, tmp_path: Path, arguments: list[str], code: int, message: str) -> None:
    done = safekeel("eval", f"scripted:{script}", "--out", str(tmp_path / "x"), "--limit", "3", *arguments)
    assert (done.returncode, message in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


def test_a_model_that_answers_nothing_is_an_engine_error(tmp_path: Path) -> None:
    script = tmp_path / "model.jsonl"
    script.write_text(json.dumps({"id": "nobody", "raw": "x"}) + "\n", "utf-8")
    arguments = ("--bench", "tc260-refuse", "--judge", "rules", "--out", str(tmp_path / "x"), "--limit", "3")
    done = safekeel("eval", f"scripted:{script}", *arguments)
    assert done.returncode == 4 and "3 of 3 completions failed" in done.stderr
