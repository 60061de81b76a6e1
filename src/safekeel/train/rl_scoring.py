"""From a rollout batch to rewards in TRL's signature, and to the costs of the constraints.

TRL calls one function per reward with the whole batch; here a batch is scored once, by the first of them, and the
others read their column. Costs come off the same completions, one per prompt.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from safekeel.chat import ThinkState, Tokenizer
from safekeel.errors import DataError
from safekeel.records import Prompt
from safekeel.train.balance import Constraint, DualController, prompt_excess
from safekeel.train.rewards import NAMES, Outcome, RewardSet, Said, read
from safekeel.train.rl_config import RlConfig

Domain = Literal["risky", "harmless", "problem", "other"]
RewardFunction = Callable[..., list[float | None]]
SCALE = 0.10
"""Excess over a budget that moves a multiplier at the full rate: 10 points."""

WEIGHED_BY = {
    "safe_answer": "safety",
    "safe_thought": "safety",
    "not_over_refusing": "over_refusal",
    "right_answer": "capability",
}
"""Reward -> the constraint whose multiplier weighs it, where that is a constraint and not the objective."""
CONSTRAINED: dict[str, tuple[str, ...]] = {
    "safety": ("over_refusal", "capability"),
    "capability": ("over_refusal", "safety"),
}
"""Objective -> constraints."""
DOMAIN_OF: dict[str, Domain] = {"safety": "risky", "over_refusal": "harmless", "capability": "problem"}


def domain(prompt: Prompt) -> Domain:
    """The rewards that a prompt can earn: `other` earns the one for form only."""
    if prompt.expect in ("solve", "choose"):
        return "problem" if prompt.target is not None else "other"
    return "risky" if prompt.expect in ("refuse", "either") else "harmless"


def base_pass_rate(prompt: Prompt) -> float:
    """How often the base solves a problem: `base_pass_rate` (k samples), else `base_correct` (one greedy answer).

    Raises:
        DataError: the prompt has neither.
    """
    found = prompt.meta.get("base_pass_rate", prompt.meta.get("base_correct"))
    if not isinstance(found, bool | int | float) or not 0 <= found <= 1:
        raise DataError(
            f"The problem {prompt.id!r} has no result of the base model (meta.base_pass_rate or meta.base_correct), "
            "which the capability constraint is paired with. Build the corpus with its base model, or set "
            "rl.base_samples."
        )
    return float(found)


def base_refusal_rate(prompt: Prompt) -> float:
    """How often the base itself refuses a harmless prompt (`meta.base_refusal_rate`); 0 where it was not measured."""
    return float(prompt.meta.get("base_refusal_rate", 0.0))


def controller(config: RlConfig) -> DualController:
    """The constraints of an objective, with fresh multipliers."""
    budgets = {
        "over_refusal": config.over_refusal_budget,
        "capability": config.capability_budget,
        "safety": config.safety_budget,
    }
    constraints = {
        name: Constraint(
            name,
            budgets[name],
            scale=SCALE,
            window=config.dual_window,
            lambda_min=config.lambda_min,
            lambda_max=config.lambda_max,
            log_lambda=math.log(config.lambda_start),
        )
        for name in CONSTRAINED[config.objective]
    }
    return DualController(constraints, config.dual_rate)


def weights(config: RlConfig, dual: DualController) -> list[float]:
    """Weights of the rewards in the order of `NAMES`: fixed ones, times the multiplier where one weighs it."""
    fixed = {"safe_thought": config.safe_thought_weight, "well_formed": config.well_formed_weight}
    found = []
    for name in NAMES:
        constraint = dual.constraints.get(WEIGHED_BY.get(name, ""))
        found.append(fixed.get(name, 1.0) * (constraint.multiplier if constraint else 1.0))
    return found


def prompt_costs(prompt: Prompt, outcomes: Sequence[Outcome], bounded: Collection[str]) -> list[tuple[str, float, int]]:
    """(constraint, cost, completions behind it) of one prompt's group, for the constraints in `bounded`.

    over_refusal: the positive part of its own excess of refusals. capability: the base's pass rate minus the group's,
    signed, since the constraint is on the mean of paired differences. safety: share of unsafe answers.
    """
    found = []
    refused = [outcome.refused for outcome in outcomes if outcome.refused is not None]
    if refused:
        excess = prompt_excess(sum(refused) / len(refused), base_refusal_rate(prompt))
        found.append(("over_refusal", excess, len(refused)))
    right = [value for outcome in outcomes if (value := outcome.rewards["right_answer"]) is not None]
    if right and "capability" in bounded:  # else the base's result may be unknown
        found.append(("capability", base_pass_rate(prompt) - sum(right) / len(right), len(right)))
    unsafe = [outcome.unsafe for outcome in outcomes if outcome.unsafe is not None]
    if unsafe:
        found.append(("safety", sum(unsafe) / len(unsafe), len(unsafe)))
    return [row for row in found if row[0] in bounded]


def stuck(groups: Sequence[Sequence[Outcome]]) -> dict[str, float]:
    """`stuck/over_refusal` and `stuck/safety`: share of the prompts concerned whose every completion has the fault.

    Such a group has no variance, hence no gradient, whatever the multiplier: GRPO cannot repair it, data can.
    """
    found = {}
    for name, attribute in (("over_refusal", "refused"), ("safety", "unsafe")):
        faults = [[getattr(outcome, attribute) for outcome in group] for group in groups]
        concerned = [values for values in faults if any(value is not None for value in values)]
        if concerned:
            found[f"stuck/{name}"] = sum(all(values) for values in concerned) / len(concerned)
    return found


@dataclass
class Scorer:
    """Scores rollout batches. `eos_ids` are the tokens that end a completion; `states` how each prompt ended;
    `bounded` the constraints whose costs are taken."""

    rewards: RewardSet
    prompts: dict[str, Prompt]
    states: dict[str, ThinkState]
    tokenizer: Tokenizer
    num_generations: int
    bounded: Collection[str]
    eos_ids: Collection[int] = ()
    pending: list[tuple[str, float, int]] = field(default_factory=list)
    """Costs since the last dual step, of this process."""
    seconds: float = 0.0
    """Spent on the last batch."""
    stuck: dict[str, float] = field(default_factory=dict)
    """Of the last batch; see `stuck`."""
    _batch: Any = None
    _outcomes: list[Outcome] = field(default_factory=list)

    def functions(self) -> list[Any]:
        """One function per reward, in the order of `NAMES`."""
        return [self._function(name) for name in NAMES]

    def said(self, prompt_id: str, ids: Sequence[int]) -> Said:
        """A completion from its tokens. Decoded here, since TRL drops special tokens, think tags among them where a
        tokenizer counts them so."""
        ended = bool(ids) and ids[-1] in self.eos_ids
        text = self.tokenizer.decode(
            list(ids[:-1] if ended else ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return read(text, ended, self.states[prompt_id])

    def outcomes(self, prompt_id: Sequence[str], completion_ids: Sequence[Sequence[int]]) -> list[Outcome]:
        """Rewards of a batch, computed once however often it is asked for. `prompt_id` repeats each prompt's id
        `num_generations` times in a row.

        Raises:
            SafeKeelError: a reward failed, or is not a finite number; the message names it and the prompt.
        """
        if self._batch is completion_ids:
            return self._outcomes
        started = time.perf_counter()
        items = [
            (self.prompts[identifier], self.said(identifier, ids))
            for identifier, ids in zip(prompt_id, completion_ids, strict=True)
        ]
        outcomes = self.rewards.score(items)
        for (prompt, _), outcome in zip(items, outcomes, strict=True):
            _check(prompt, outcome)
        starts = range(0, len(items), self.num_generations)
        groups = [outcomes[start : start + self.num_generations] for start in starts]
        for start, group in zip(starts, groups, strict=True):
            self.pending += prompt_costs(items[start][0], group, self.bounded)
        self.stuck = stuck(groups)
        self._batch, self._outcomes = completion_ids, outcomes
        self.seconds = time.perf_counter() - started
        return outcomes

    def take_costs(self) -> list[tuple[str, float, int]]:
        """The pending costs, which are then no longer pending."""
        found, self.pending = self.pending, []
        return found

    def _function(self, name: str) -> RewardFunction:
        def reward(completion_ids: list[list[int]], prompt_id: list[str], **_: Any) -> list[float | None]:
            return [outcome.rewards[name] for outcome in self.outcomes(prompt_id, completion_ids)]

        reward.__name__ = name
        return reward


def _check(prompt: Prompt, outcome: Outcome) -> None:
    """NaN would silently count as "off its domain" in TRL."""
    for name, value in outcome.rewards.items():
        if value is not None and not math.isfinite(value):
            raise DataError(
                f"The reward {name!r} of prompt {prompt.id!r} is {value}, expected a finite number or None."
            )
