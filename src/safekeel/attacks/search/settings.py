"""How a search is run, and what it costs at most, said before it starts."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import Field

from safekeel.attacks.base import WORDINGS, Wording
from safekeel.attacks.search.base import Strategy
from safekeel.config import StageConfig
from safekeel.engines.base import Engine, Sampling

BATCH_SIZE = 64
"""Where an engine names no batch size of its own: that of `engines.hf`."""
ATTACKER_SLACK = 16
"""Attacker calls that any goal may cost beside those per target call: a first round of retries."""
PROMPT_TOKENS = 400
"""A dressed request of the families and strategies here is below it; conversations of Crescendo grow past it."""
ATTACKER_PROMPT_TOKENS = 1600
"""Instructions, three earlier proposals and the replies to them."""


class SearchConfig(StageConfig):
    """How goals are attacked."""

    budget: int = Field(20, ge=1)
    """Target calls per goal."""
    batch_size: int | None = Field(None, ge=1)
    """Conversations per batch of the target; None = the engine's own."""
    attacker_batch_size: int | None = Field(None, ge=1)
    stop_at_success: bool = True
    """A goal ends with its first success; false = it spends its budget, where what succeeds is collected."""
    seed: int = Field(0, ge=0)
    wordings: tuple[Wording, ...] = WORDINGS
    """Wordings of the families that may be used; `("train",)` when the successes are to become training prompts."""
    sampling: Sampling = Field(default_factory=Sampling)
    """Of the target."""
    attacker_sampling: Sampling = Field(default_factory=lambda: Sampling(temperature=1.0, top_p=0.9))
    """PAIR's settings of its attacker (arXiv 2310.08419, section 4). Its `max_tokens` is added to what a strategy asks
    for: room for the thought of an attacker that reasons."""
    attacker_calls_per_query: float = Field(8, gt=0)
    """Attacker calls after which a goal is given up, per target call of the budget: TAP needs two, four when every
    reply has to be asked for again."""


class Estimate(NamedTuple):
    """Upper bounds: early stops make a search cheaper."""

    target_calls: int
    attacker_calls: int
    judge_calls: int
    """Completions to judge; a model as judge is asked twice about each, thought and answer."""
    target_tokens: int
    """Read and written."""
    attacker_tokens: int
    forward_passes: int = 0
    """Of the target's weights, beside the calls."""


def estimate(
    strategy: Strategy,
    num_goals: int,
    budget: int,
    max_tokens: int = Sampling().max_tokens,
    attacker_max_tokens: int = 512,
    has_attacker: bool = True,
) -> Estimate:
    """What a search costs at most, without retries of the attacker.

    Args:
        max_tokens: new tokens of a target call.
        has_attacker: counts for strategies that can do without one.
    """
    target_calls = num_goals * budget
    per_query = strategy.attacker_calls_per_query if has_attacker or strategy.needs_attacker else 0.0
    attacker_calls = round(target_calls * per_query)
    return Estimate(
        target_calls,
        attacker_calls,
        target_calls,
        target_calls * (PROMPT_TOKENS + max_tokens),
        attacker_calls * (ATTACKER_PROMPT_TOKENS + attacker_max_tokens),
        num_goals * strategy.forward_passes,
    )


def batch_size_of(engine: Engine, wanted: int | None) -> int:
    """The batch size wanted, else what the engine can take at once."""
    own = getattr(engine, "batch_size", None) or getattr(engine, "concurrency", None)
    return wanted or (own if isinstance(own, int) else BATCH_SIZE)
