"""When to stop RL before its last step: drift from the start, drift from the base, cut-off completions, NaN.

The first three end training cleanly: the last checkpoint from before the limit was crossed is the result, and the
manifest says why. A loss that is not a number is an error: the weights are lost, the last checkpoint is not.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from safekeel.errors import EngineError
from safekeel.train.rl_config import RlConfig


@dataclass
class StopRule:
    """A limit on the mean of the last `window` measurements of one logged figure. It waits until there are so many."""

    figure: str
    limit: float
    window: int
    advice: str
    values: deque[float] = field(default_factory=deque)

    def crossed(self, value: float) -> str | None:
        """Take in a measurement; returns the reason to stop, or None."""
        self.values.append(value)
        while len(self.values) > self.window:
            self.values.popleft()
        mean = sum(self.values) / len(self.values)
        if len(self.values) < self.window or mean <= self.limit:
            return None
        return (
            f"{self.figure} averaged {mean:.3g} over {self.window} measurements, above its limit of {self.limit:g}; "
            f"{self.advice}"
        )


def no_numbers(step: int, what: str) -> str:
    """The message of a run whose weights are lost."""
    return (
        f"RL stopped at step {step}: {what}. No checkpoint was written at this step, those of earlier steps stay. "
        "Lower rl.learning_rate (or raise rl.kl_beta, or use float32) and run the command again."
    )


@dataclass
class Monitor:
    """The stop rules of a run."""

    rules: list[StopRule]
    reason: str | None = None
    """Why training stopped early."""
    stopped_at: int | None = None

    def check(self, step: int, logs: dict[str, Any]) -> bool:
        """Whether to stop after this step.

        Raises:
            EngineError: loss or gradient norm is not a number.
        """
        for key in ("loss", "grad_norm"):
            value = logs.get(key)
            if value is not None and not math.isfinite(value):
                raise EngineError(no_numbers(step, f"{key} is {value}"))
        for rule in self.rules:
            value = logs.get(rule.figure)
            if value is not None and self.reason is None and (reason := rule.crossed(float(value))):
                self.reason, self.stopped_at = reason, step
        return self.reason is not None

    def state(self) -> dict[str, Any]:
        """What has to survive a kill (plain JSON)."""
        return {rule.figure: list(rule.values) for rule in self.rules}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a saved state; figures it lacks start anew."""
        for rule in self.rules:
            rule.values = deque(float(value) for value in state.get(rule.figure, []))


def monitor(config: RlConfig) -> Monitor:
    """The rules that a configuration asks for."""
    wanted = (
        ("kl", config.max_kl, config.stop_window, "lower rl.learning_rate, or raise rl.kl_beta or rl.max_kl"),
        ("base_kl/problem", config.max_base_kl, 1, "the model forgets: lower rl.learning_rate, or raise rl.kl_beta"),
        ("completions/clipped_ratio", config.max_truncated, config.stop_window, "raise rl.max_tokens"),
    )
    return Monitor([StopRule(name, limit, window, advice) for name, limit, window, advice in wanted if limit])
