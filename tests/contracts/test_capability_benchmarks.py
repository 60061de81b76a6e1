"""Every capability benchmark on the public data at hand: exact counts, the prompt contract, and a gold that grades."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import pytest

pytest.importorskip("lm_eval", reason="the extra `capability` is not installed")

from safekeel.bench.capability import GENERATIVE
from safekeel.bench.capability.grader import LmEvalGrader
from safekeel.bench.capability.sources import LETTERS
from safekeel.errors import DataError, UsageError
from safekeel.records import Completion, Prompt

needs_data = pytest.mark.skipif(not os.environ.get("SAFEKEEL_DATA"), reason="SAFEKEEL_DATA names no public data")

# The copies at hand (datasets.md): validation of MMLU and C-Eval, the development items of CMMLU, 300 of GSM8K's 1,319.
COUNTS = {"mmlu": 1531, "ceval": 1346, "cmmlu": 335, "gsm8k": 300, "math500": 500, "cmath": 600}
SUBJECTS = {"mmlu": 57, "ceval": 52, "cmmlu": 67, "gsm8k": 0, "math500": 7, "cmath": 6}
SAYS = {"en": "\nAnswer: {}", "zh": "\n答案：{}"}


@pytest.fixture(scope="module", params=[bench.name for bench in GENERATIVE])
def loaded(request: pytest.FixtureRequest) -> tuple[str, list[Prompt]]:
    (bench,) = (bench for bench in GENERATIVE if bench.name == request.param)
    return bench.name, bench.prompts("test", None, None, 0)


def completion(prompt: Prompt, answer: str) -> Completion:
    return Completion(
        prompt_id=prompt.id,
        model="m",
        raw=answer,
        thought="x",
        answer=answer,
        split="closed",
        finish="stop",
        num_prompt_tokens=1,
        num_completion_tokens=1,
        seconds=0,
    )


@needs_data
def test_counts_are_exact_and_prompts_keep_the_contract(loaded: tuple[str, list[Prompt]]) -> None:
    name, prompts = loaded
    assert len(prompts) == len({prompt.id for prompt in prompts}) == COUNTS[name]
    subjects = {s for prompt in prompts for s in prompt.meta["slices"] if s.startswith("subject:")}
    assert len(subjects) == SUBJECTS[name]
    for prompt in prompts:
        assert prompt.id.startswith(f"{name}/")
        assert prompt.meta["grader"] == f"lm-eval:{name}"
        assert [message.role for message in prompt.messages] == ["user"]  # no system prompt, zero-shot
        assert prompt.risk is None
        if prompt.expect == "choose":
            assert prompt.target in LETTERS
            assert all(f"\n{letter}. {text}\n" in prompt.messages[0].content for letter, text in _options(prompt))
        else:
            assert prompt.expect == "solve" and prompt.target


@needs_data
def test_the_gold_answer_is_right_and_another_is_wrong(loaded: tuple[str, list[Prompt]]) -> None:
    name, prompts = loaded
    if name == "math500":
        prompts = prompts[::25]
    right = [completion(prompt, _say(prompt, prompt.target or "")) for prompt in prompts]
    wrong = [completion(prompt, _say(prompt, _other(prompt))) for prompt in prompts]
    grader = LmEvalGrader(name)
    assert {v.label for (v,) in grader.judge_many(list(zip(prompts, right, strict=True)))} == {"correct"}
    assert {v.label for (v,) in grader.judge_many(list(zip(prompts, wrong, strict=True)))} == {"wrong"}


@needs_data
def test_a_limit_draws_the_same_items_every_time(loaded: tuple[str, list[Prompt]]) -> None:
    name, prompts = loaded
    (bench,) = (bench for bench in GENERATIVE if bench.name == name)
    drawn = bench.prompts("test", 7, None, 3)
    assert drawn == bench.prompts("test", 7, None, 3)
    assert len(drawn) == 7 and all(prompt in prompts for prompt in drawn)


@pytest.mark.parametrize("bench", GENERATIVE, ids=lambda bench: bench.name)
def test_missing_data_says_where_to_get_it(bench: object, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"https://"):
        bench.prompts("test", None, tmp_path, 0)  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="no split 'train'"):
        bench.prompts("train", None, tmp_path, 0)  # type: ignore[attr-defined]


def _options(prompt: Prompt) -> list[tuple[str, str]]:
    return list(prompt.meta["options"].items())


def _say(prompt: Prompt, target: str) -> str:
    return SAYS[prompt.lang].format(target) if prompt.expect == "choose" else rf"So it is \boxed{{{target}}}."


def _other(prompt: Prompt) -> str:
    if prompt.expect == "choose":
        return LETTERS[LETTERS.index(prompt.target or "") - 1]
    return "x^{77}" if prompt.id.startswith("math500") else str(Fraction(prompt.target or "0") + 1)
