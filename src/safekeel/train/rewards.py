"""RL rewards: what a completion is worth, one number per goal, and what it costs the constraints.

The nano rewards are pure functions of a prompt and its completion text. They read cues, not the world's grammar, and
never call an evaluation judge: a policy that learns to please its reward is still measured by something it was not
trained on. A reward returns `None` off its domain, which TRL leaves out. Judged rewards, for real models, are in
`rl_judged.py`; both are a `RewardSet`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from safekeel.chat import CLOSE, OPEN, ThinkState, split_completion
from safekeel.errors import DataError, SafeKeelError
from safekeel.nano.language import DIRECTIONS, risk_name
from safekeel.records import Prompt, SplitStatus

NAMES = ("safe_answer", "safe_thought", "not_over_refusing", "right_answer", "well_formed")
"""Every reward, in the order of the trainer's weights. Thought and answer are rewarded apart (知行合一)."""

REFUSAL_CUES = ("cannot help", "不能帮助")
HELP_CUES = ("step one", "第一步")
DECLINE_CUES = ("should decline", "应该拒绝")
DIRECTIONS_SAID = tuple(text.strip() for table in DIRECTIONS.values() for text in table.values())
TARGET = re.compile(r"(?:answer is|答案是)\s*([A-D]|\d+)")


@dataclass(frozen=True)
class Said:
    """A completion, split. `ended` = the model stopped by itself; `state` = how its prompt ended."""

    text: str
    thought: str
    answer: str
    status: SplitStatus
    ended: bool
    state: ThinkState = "open"


@dataclass(frozen=True)
class Outcome:
    """A completion's rewards by name (None = off its domain, or nobody can tell), and the faults that constraints
    count: a refusal of the harmless, an unsafe answer to the risky. None = does not apply, or cannot be told."""

    rewards: dict[str, float | None]
    refused: bool | None = None
    unsafe: bool | None = None


class RewardSet(Protocol):
    """Scores a batch of completions."""

    num_unscored: int
    """Of the last batch: completions that a judge could not label."""

    def score(self, items: Sequence[tuple[Prompt, Said]]) -> list[Outcome]:
        """One outcome per completion, in order.

        Raises:
            SafeKeelError: a reward failed; the message names it and the prompt.
        """
        ...

    def close(self) -> None:
        """End helper processes."""
        ...


def read(text: str, ended: bool, state: ThinkState = "open") -> Said:
    """Split a completion, given without its end token, by how its prompt ended."""
    split = split_completion(text, "stop" if ended else "length", state == "open", answer_only=state == "closed")
    return Said(text, split.thought or "", split.answer, split.status, ended, state)


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
    """All prompts: 1 for one thought that closes exactly once, thought and answer not empty, and a proper end.

    Where the opening tag is in the prompt (R1), a second one is a fault, and TRL's `think_format_reward` would give
    every right completion 0. A quoted tag counts as well: a loophole would cost more than a rare lost point.
    """
    opened, closed = said.text.count(OPEN), said.text.count(CLOSE)
    whole = said.ended and bool(said.answer.strip())
    if said.state == "closed":
        return float(whole and opened == closed == 0)
    opens_right = opened == 0 if said.state == "open" else opened == 1 and said.text.lstrip().startswith(OPEN)
    return float(whole and opens_right and closed == 1 and bool(said.thought.strip()))


REWARDS: dict[str, Callable[[Prompt, Said], float | None]] = {
    "safe_answer": safe_answer,
    "safe_thought": safe_thought,
    "not_over_refusing": not_over_refusing,
    "right_answer": right_answer,
    "well_formed": well_formed,
}


@dataclass
class CueRewards:
    """The nano world's rewards, or any other pure functions of the same names."""

    functions: dict[str, Callable[[Prompt, Said], float | None]] = field(default_factory=lambda: dict(REWARDS))
    num_unscored: int = 0

    def score(self, items: Sequence[tuple[Prompt, Said]]) -> list[Outcome]:
        """See `RewardSet.score`."""
        return [self._one(prompt, said) for prompt, said in items]

    def close(self) -> None:
        """Nothing to end."""

    def _one(self, prompt: Prompt, said: Said) -> Outcome:
        rewards = {name: guarded(name, prompt, said, function) for name, function in self.functions.items()}
        safe = rewards["safe_answer"]
        refused = refuses(said) if prompt.expect == "answer" else None
        return Outcome(rewards, refused, None if safe is None else safe == 0.0)


def guarded(name: str, prompt: Prompt, said: Said, function: Callable[[Prompt, Said], float | None]) -> float | None:
    """A reward's value; its failure names reward and prompt.

    Raises:
        SafeKeelError: of its own kind where it is one already, else a DataError.
    """
    try:
        return function(prompt, said)
    except SafeKeelError as error:
        raise type(error)(f"The reward {name!r} failed on prompt {prompt.id!r}: {error}") from error
    except Exception as error:  # whatever a reward may raise must not pass without its name
        raise DataError(
            f"The reward {name!r} failed on prompt {prompt.id!r} with {type(error).__name__}: {error}. Correct the "
            "prompt or the reward and run the same command again; training continues from its last checkpoint."
        ) from error
