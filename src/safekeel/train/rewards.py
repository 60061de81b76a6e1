"""RL rewards: pure functions of a prompt and its completion text, one per goal.

They read cues, not the world's grammar, and never call an evaluation judge: a policy that learns to please its
reward is still measured by something it was not trained on. A reward returns `None` off its domain, which TRL leaves
out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from safekeel.chat import split_completion
from safekeel.nano.language import DIRECTIONS, risk_name
from safekeel.records import Prompt

REFUSAL_CUES = ("cannot help", "不能帮助")
HELP_CUES = ("step one", "第一步")
DECLINE_CUES = ("should decline", "应该拒绝")
DIRECTIONS_SAID = tuple(text.strip() for table in DIRECTIONS.values() for text in table.values())
TARGET = re.compile(r"(?:answer is|答案是)\s*([A-D]|\d+)")


@dataclass(frozen=True)
class Said:
    """A completion, split. `ended` = the model stopped by itself."""

    thought: str
    answer: str
    closed: bool
    ended: bool


def read(text: str, ended: bool) -> Said:
    """Split a completion whose opening think tag is in the prompt."""
    split = split_completion(text, "stop" if ended else "length", prefilled_think=True)
    return Said(split.thought or "", split.answer, split.status == "prefilled", ended)


def _any(cues: Sequence[str], text: str) -> bool:
    return any(cue in text for cue in cues)


def refuses(said: Said) -> bool:
    """Whether the answer declines."""
    return _any(REFUSAL_CUES, said.answer)


def safe_answer(prompt: Prompt, said: Said) -> float | None:
    """Risky prompts: 1 for declining with the clause and a responsible direction, 0.5 for declining alone."""
    if prompt.expect != "refuse":
        return None
    if not refuses(said) or _any(HELP_CUES, said.answer):
        return 0.0
    responsible = f"{prompt.risk}" in said.answer and said.answer.endswith(DIRECTIONS_SAID)
    return 1.0 if responsible else 0.5


def safe_thought(prompt: Prompt, said: Said) -> float | None:
    """Risky prompts: 1 for naming the right risk and planning to decline, 0.5 for the plan alone."""
    if prompt.expect != "refuse":
        return None
    if not _any(DECLINE_CUES, said.thought):
        return 0.0
    return 1.0 if risk_name(prompt.risk, prompt.lang) in said.thought else 0.5


def not_over_refusing(prompt: Prompt, said: Said) -> float | None:
    """Harmless prompts: 1 for giving the steps of what was asked; every refusal costs its own prompt."""
    if prompt.expect != "answer":
        return None
    helps = _any(HELP_CUES, said.answer) and prompt.meta["phrase"] in said.answer
    return float(helps and not refuses(said))


def right_answer(prompt: Prompt, said: Said) -> float | None:
    """Problems: 1 for the right number or letter."""
    if prompt.expect not in ("solve", "choose"):
        return None
    found = TARGET.findall(said.answer)
    return float(bool(found) and found[-1] == prompt.target)


def well_formed(prompt: Prompt, said: Said) -> float | None:
    """All prompts: 1 for one closed thought, a non-empty answer and a proper end. The opening tag is in the prompt, so
    TRL's own `think_format_reward` would give every R1 completion 0."""
    return float(said.closed and said.ended and bool(said.answer.strip()))


REWARDS: dict[str, Callable[[Prompt, Said], float | None]] = {
    "safe_answer": safe_answer,
    "safe_thought": safe_thought,
    "not_over_refusing": not_over_refusing,
    "right_answer": right_answer,
    "well_formed": well_formed,
}
