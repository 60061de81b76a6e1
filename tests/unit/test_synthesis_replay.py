"""Replay: right answers are kept in the model's own words, wrong ones are told; and the pool set aside for RL."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from safekeel.corpus.rl_pool import RlConfig, rl_prompts, split_off
from safekeel.corpus.sample import Sample
from safekeel.corpus.synthesis.replay import ReplayConfig, Verifier, replay
from safekeel.corpus.synthesis.tally import Tally
from safekeel.engines.scripted import ScriptedEngine
from safekeel.records import Completion, Expect, Message, Prompt


def problem(identifier: str, text: str, target: str | None, expect: Expect = "solve", **meta: object) -> Sample:
    prompt = Prompt(
        id=identifier,
        messages=(Message(role="user", content=text),),
        lang="en",
        risk=None,
        expect=expect,
        target=target,
        source="test",
        licence="MIT",
        meta=meta,
    )
    return Sample(id=identifier, role="replay", prompt=prompt)


def engine(tmp_path: Path, *replies: dict[str, str]) -> ScriptedEngine:
    path = tmp_path / "script.jsonl"
    path.write_text("".join(json.dumps(reply, ensure_ascii=False) + "\n" for reply in replies), "utf-8")
    return ScriptedEngine(str(path))


@pytest.fixture
def verifier() -> Verifier:
    pytest.importorskip("math_verify", reason="math-verify is not installed (extra `corpus`)")
    return Verifier()


OPTIONS = {"A": "red", "B": "blue"}


def test_right_answers_are_kept_and_wrong_ones_told(tmp_path: Path, verifier: Verifier) -> None:
    problems = [
        problem("sum", "1,200 + 34?", "1234"),
        problem("half", "half of 3?", r"\frac{3}{2}"),
        problem("wrong", "2 + 2?", "4"),
        problem("colour", "sky? A. red B. blue", "B", "choose", options=OPTIONS),
        problem("cut", "long?", "1"),
    ]
    model = engine(
        tmp_path,
        {"id": "sum", "raw": "<think>add</think>The answer is $1{,}234$."},
        {"id": "half", "raw": "<think>halve</think>It is \\boxed{1.5}."},
        {"id": "wrong", "raw": "<think>guess</think>The answer is 5."},
        {"id": "colour", "raw": "<think>look up</think>The answer is B."},
        {"id": "cut", "raw": "<think>and on", "finish": "length"},
    )
    tally = Tally()
    try:
        kept, rejected = replay(
            problems, model, ReplayConfig(num_samples=2), verifier, tmp_path / "r.jsonl", None, tally
        )
    finally:
        verifier.close()
    assert [(one.id, one.thought) for one in kept] == [("sum", "add"), ("half", "halve"), ("colour", "look up")]
    assert kept[0].checks == {"samples": 2, "right": 2} and kept[0].style == "own" and kept[0].made_by == model.name
    assert [(row.sample.id, row.reason, row.evidence) for row in rejected if row.sample] == [
        ("wrong", "wrong_answer", "wrong_answer 2"),
        ("cut", "truncated", "truncated 2"),
    ]
    assert tally.card()["prompts"] == 5 and tally.accepted == 3 and tally.good_candidates == 6


def test_several_different_right_answers_of_one_problem_get_their_own_ids(tmp_path: Path) -> None:
    class TwoWays:
        name, model_id = "two", "two"

        def rendered(self, prompt: Prompt, sampling: object) -> str:
            return prompt.id

        def generate(self, prompts, sampling, on_completion=None):  # type: ignore[no-untyped-def]
            for prompt in prompts:
                for number, way in enumerate(("short", "short", "long")):
                    on_completion(completion(prompt.id, number, way))

    def completion(identifier: str, number: int, thought: str) -> Completion:
        return Completion(
            prompt_id=identifier, sample=number, model="two", raw="", thought=thought, answer="4", split="closed",
            finish="stop", num_prompt_tokens=0, num_completion_tokens=0, seconds=0.0,
        )  # fmt: skip

    config = ReplayConfig(num_samples=3, keep_per_prompt=3)
    kept, _ = replay(
        [problem("p", "2+2", "4")], TwoWays(), config, lambda *_: None, tmp_path / "x.jsonl", None, Tally()
    )
    assert [(one.id, one.thought) for one in kept] == [("p", "short"), ("p#1", "long")]


def test_rl_pool_keeps_twins_together_and_never_depends_on_other_rows() -> None:
    rows = []
    for number in range(300):
        risky = problem(f"r{number}", "x", None, "refuse").model_copy(update={"role": "risky", "pair": f"r{number}/c"})
        twin = problem(f"r{number}/c", "y", None, "answer").model_copy(update={"role": "counter", "pair": f"r{number}"})
        rows += [risky, twin]
    general = problem("g", "z", None, "answer").model_copy(update={"role": "general"})
    training, reserved = split_off([*rows, general], RlConfig(share=0.2))
    ids = {one.id for one in reserved}
    assert 80 < len(ids) < 160 and len(ids) % 2 == 0
    assert all((one.pair in ids) == (one.id in ids) for one in rows)
    assert general in training and len(training) + len(reserved) == 601
    assert {one.id for one in split_off(rows[:50], RlConfig(share=0.2))[1]} <= ids
    assert split_off(rows, RlConfig(share=0.0))[1] == []


def test_rl_problems_know_whether_the_base_solves_them(tmp_path: Path) -> None:
    model = engine(tmp_path, {"id": "a", "raw": "<think>x</think>4"}, {"raw": "<think>x</think>no idea"})
    rows = [problem("a", "2+2", "4"), problem("b", "3+3", "6"), problem("c", "hello", None, "answer")]

    def grade(prompt: Prompt, row: Completion) -> str | None:
        return None if row.answer == prompt.target else "wrong_answer"

    found = rl_prompts(rows, RlConfig(), model, grade, tmp_path, None)
    assert [prompt.meta.get("base_correct") for prompt in found] == [True, False, None]
