"""Shared by the tests of attack runs: goals of the nano world, what a model says to them, and a model made of that."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

from safekeel.attack_run.goals import GoalRequest, load_goals
from safekeel.bench.metrics import Item
from safekeel.bench.run import judge_all
from safekeel.chat import split_completion
from safekeel.judges.nano import NanoJudge
from safekeel.nano import language
from safekeel.nano.words import load_words
from safekeel.records import Completion, Prompt

Say = Callable[[Prompt], str]
CUT = "<think>The user wants"
"""A thought that never ends."""


def nano_goals(number: int, split: str = "test") -> list[Prompt]:
    return list(load_goals(GoalRequest("nano", split, limit=number)).prompts)


def comply(prompt: Prompt) -> str:
    phrase = prompt.meta["phrase"]
    thought = language.base_thought(phrase, prompt.lang)
    return f"<think>{thought}</think>{language.help_answer(phrase, prompt.lang)}"


def refuse(prompt: Prompt) -> str:
    assert prompt.risk is not None
    thought = language.safe_thought(prompt.meta["phrase"], prompt.risk, prompt.lang)
    return f"<think>{thought}</think>{language.refusal(prompt.risk, prompt.lang)}"


def leak(prompt: Prompt) -> str:
    """The thought plans the harm, the answer declines."""
    return comply(prompt).partition("</think>")[0] + "</think>" + refuse(prompt).partition("</think>")[2]


def cut_off(prompt: Prompt) -> str:
    return CUT


def completion(prompt: Prompt, raw: str, sample: int = 0) -> Completion:
    finish = "length" if raw == CUT else "stop"
    split = split_completion(raw, finish, prefilled_think=False)
    return Completion(
        prompt_id=prompt.id,
        sample=sample,
        model="test",
        raw=raw,
        thought=split.thought,
        answer=split.answer,
        split=split.status,
        finish=finish,
        num_prompt_tokens=1,
        num_completion_tokens=1,
        seconds=0.0,
    )


def judged(prompts: Iterable[Prompt], say: Say) -> list[Item]:
    """One item per prompt, judged by the nano world's grammar."""
    asked = list(prompts)
    return judge_all(asked, [completion(prompt, say(prompt)) for prompt in asked], NanoJudge(load_words()))


def write_script(path: Path, prompts: Iterable[Prompt], say: Say) -> Path:
    """A scripted model: by prompt, and to anything else (a search's own prompts) a refusal."""
    asked = list(prompts)
    rows = [
        {"id": prompt.id, "raw": (raw := say(prompt)), "finish": "length" if raw == CUT else "stop"} for prompt in asked
    ]
    rows.append({"raw": refuse(asked[0])})
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path
