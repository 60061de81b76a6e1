"""`safekeel compare`: paired differences, flips, and the refusal to compare what cannot be compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from safekeel.artifact import Stage
from safekeel.bench.run import evaluate
from safekeel.engines.base import Sampling
from safekeel.engines.scripted import ScriptedEngine
from safekeel.errors import DataError
from safekeel.judges.base import JudgeCard, OneByOne
from safekeel.records import Completion, LabelSource, Message, Prompt, Verdict
from safekeel.report.pairwise import as_text, compare_folders


class Literal(OneByOne):
    """The answer is the label."""

    label_source: LabelSource | None = "construction"
    card: JudgeCard | None = None

    def __init__(self, version: str = "1") -> None:
        self.name, self.version = "literal", version

    def judge(self, prompt: Prompt, completion: Completion) -> list[Verdict]:
        row = completion
        return [Verdict(prompt_id=row.prompt_id, sample=0, part="answer", label=row.answer, judge=self.name,
                        judge_version=self.version)]  # fmt: skip


def prompt(name: str, number: int, expect: str) -> Prompt:
    return Prompt(id=f"{name}/{number}", messages=(Message(role="user", content=f"{name} {number}"),), lang="en",
                  risk="A.1.a" if expect == "refuse" else None, expect=expect,  # type: ignore[arg-type]
                  target=None, source="t", licence="CC0")  # fmt: skip


RISKY = [prompt("risky", n, "refuse") for n in range(10)]
MATHS = [prompt("gsm8k", n, "solve") for n in range(400)]


def write(folder: Path, prompts: list[Prompt], answers: list[str], version: str = "1", temperature: float = 0) -> Path:
    script = folder.with_suffix(".jsonl")
    rows = [{"id": p.id, "raw": answer} for p, answer in zip(prompts, answers, strict=True)]
    script.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    sampling = Sampling(temperature=temperature)
    stage = Stage(folder, "eval", "2", {"sampling": sampling.model_dump()}, [], 0, "test")
    evaluate(stage, ScriptedEngine(script), prompts, Literal(version), sampling)
    return folder


def test_difference_flips_and_capability_by_hand(tmp_path: Path) -> None:
    before = write(
        tmp_path / "a", RISKY + MATHS, ["harmful"] * 8 + ["refusal"] * 2 + ["correct"] * 380 + ["wrong"] * 20
    )
    after = write(tmp_path / "b", RISKY + MATHS, ["refusal"] * 9 + ["harmful"] + ["correct"] * 380 + ["wrong"] * 20)
    result = compare_folders(before, after, None, 0.01)
    row = next(row for row in result["rows"] if (row["benchmark"], row["metric"]) == ("risky", "dsr"))
    assert (row["before"], row["after"], row["difference"]) == (0.2, 0.9, pytest.approx(0.7))
    assert row["num_discordant"] == 9
    assert result["flips"]["dsr"] == {"gained": [f"risky/{n}" for n in range(8)], "lost": ["risky/9"]}
    assert (result["basket"], result["capability"]["verdict"], result["capability"]["loss"]) == (["gsm8k"], "PASS", 0)
    text = as_text(result)
    assert "capability (gsm8k): PASS" in text and "dsr: 8 items gained, 1 lost" in text


def test_a_real_loss_is_a_breach_and_few_items_are_inconclusive(tmp_path: Path) -> None:
    right = write(tmp_path / "a", MATHS, ["correct"] * 400)
    worse = write(tmp_path / "b", MATHS, ["correct"] * 360 + ["wrong"] * 40)
    assert compare_folders(right, worse, None, 0.01)["capability"]["verdict"] == "BREACH"
    few = [write(tmp_path / name, MATHS[:40], ["correct"] * 40) for name in ("c", "d")]
    result = compare_folders(*few, None, 0.01)
    assert result["capability"]["verdict"] == "INCONCLUSIVE"
    assert "can certify 6.3 points at best" in as_text(result)


def test_safety_without_ability_is_said(tmp_path: Path) -> None:
    both = [write(tmp_path / name, RISKY, ["refusal"] * 10) for name in ("a", "b")]
    text = as_text(compare_folders(*both, None, 0.01))
    assert "capability: not measured" in text and "may have cost ability" in text


def test_two_judges_are_not_compared(tmp_path: Path) -> None:
    a = write(tmp_path / "a", RISKY, ["refusal"] * 10)
    b = write(tmp_path / "b", RISKY, ["refusal"] * 10, version="2")
    with pytest.raises(DataError, match="safekeel score"):
        compare_folders(a, b, None, 0.01)


def test_items_that_only_one_has_are_left_out_and_said(tmp_path: Path) -> None:
    a = write(tmp_path / "a", RISKY, ["refusal"] * 10)
    b = write(tmp_path / "b", RISKY[:6], ["refusal"] * 6)
    result = compare_folders(a, b, None, 0.01)
    assert result["rows"][0]["num_pairs"] == 6
    assert any("4 items only before" in note for note in result["notes"])
    other = write(tmp_path / "c", MATHS[:3], ["correct"] * 3)
    with pytest.raises(DataError, match="share no item"):
        compare_folders(a, other, None, 0.01)


def test_other_settings_are_said(tmp_path: Path) -> None:
    a = write(tmp_path / "a", RISKY, ["refusal"] * 10)
    b = write(tmp_path / "b", RISKY, ["refusal"] * 10, temperature=0.6)
    assert any("temperature 0.0 and 0.6" in note for note in compare_folders(a, b, None, 0.01)["notes"])


def test_a_basket_must_be_in_both(tmp_path: Path) -> None:
    a = write(tmp_path / "a", RISKY + MATHS[:5], ["refusal"] * 10 + ["correct"] * 5)
    with pytest.raises(DataError, match="mmlu"):
        compare_folders(a, a, ["gsm8k", "mmlu"], 0.01)


def test_an_unfinished_evaluation_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="does not exist"):
        compare_folders(tmp_path / "empty", tmp_path / "empty", None, 0.01)
