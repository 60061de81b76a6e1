"""Balanced optimisation: one goal subject to budgets on the others, by dual ascent on log-multipliers.

    maximise  E[goal]   subject to   E[cost_k] <= budget_k
    log lambda_k <- clip(log lambda_k + rate * fill_k * clip((estimate_k - budget_k) / scale_k, -1, 1))

A multiplier weighs an advantage that was normalised in its group first, and so keeps its meaning whatever the rewards'
spread (Constrained GRPO, arXiv 2602.05863; TRL's `normalize_then_sum`). Log form, cost window and lambda_max:
safe-rlhf's PPO-Lagrangian.

An estimate is the mean over the last `WINDOW` samples. `fill` is the share of the window that is filled: an estimate
from n samples has the error sigma / sqrt(n), so a step of rate * (n / window) is never noisier than one with a full
window. Below `MIN_SAMPLES` a multiplier does not move.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from safekeel.errors import DataError

WINDOW = 512
"""Samples per constraint over which a cost is averaged: at a deficit of 3% and independent samples the standard error
is 0.75 points, so a tolerance of 3 to 5 points can be told from none (128 samples, safe-rlhf's window, give 1.5)."""
MIN_SAMPLES = 32
"""Fewer say nothing yet. Four groups of eight completions."""
LAMBDA_MIN, LAMBDA_MAX = 0.25, 5.0
"""safe-rlhf caps at 5; the floor keeps a satisfied constraint's reward in the objective, so that it stays satisfied."""


def prompt_excess(rate: float, tolerated: float = 0.0) -> float:
    """What one prompt costs a constraint that no other prompt may pay for: the positive part of its own excess.

    RePO (2410.19933) replaces E[cost] by E[max(0, cost of the prompt)]: a prompt far below what is tolerated does not
    make up for one above it.

    Args:
        rate: share of the prompt's completions with the fault.
        tolerated: share allowed on this very prompt, such as what the base model shows itself.
    """
    return max(0.0, rate - tolerated)


@dataclass
class Constraint:
    """One budgeted cost and its multiplier. `budget` and costs are fractions; `scale` is the excess that counts as 1.

    Costs come per prompt, with the number of completions behind them: completions of one prompt are alike, so the
    standard error is taken over prompts.
    """

    name: str
    budget: float
    scale: float = 0.10
    window: int = WINDOW
    lambda_min: float = LAMBDA_MIN
    lambda_max: float = LAMBDA_MAX
    log_lambda: float = 0.0
    costs: deque[tuple[float, int]] = field(default_factory=deque)

    @property
    def multiplier(self) -> float:
        return math.exp(self.log_lambda)

    @property
    def num_samples(self) -> int:
        """Completions in the window."""
        return sum(count for _, count in self.costs)

    @property
    def estimate(self) -> float | None:
        """Mean cost over the window; None until enough samples were seen."""
        total = self.num_samples
        return sum(cost * count for cost, count in self.costs) / total if total >= MIN_SAMPLES else None

    @property
    def standard_error(self) -> float | None:
        """Of the estimate, with prompts as clusters (ratio estimator); None for fewer than two prompts."""
        mean, clusters, total = self.estimate, len(self.costs), self.num_samples
        if mean is None or clusters < 2:
            return None
        squares = sum((count * (cost - mean)) ** 2 for cost, count in self.costs)
        return math.sqrt(squares * clusters / (clusters - 1)) / total

    def observe(self, cost: float, count: int = 1) -> None:
        """Add one prompt's cost over `count` completions; the oldest go while the rest still fill the window."""
        self.costs.append((cost, count))
        total = self.num_samples
        while total - self.costs[0][1] >= self.window:
            total -= self.costs.popleft()[1]

    def ascend(self, rate: float) -> None:
        """One dual step: the multiplier grows while the cost exceeds its budget and shrinks while it does not."""
        if self.estimate is None:
            return
        excess = max(-1.0, min(1.0, (self.estimate - self.budget) / self.scale))
        moved = self.log_lambda + rate * min(1.0, self.num_samples / self.window) * excess
        self.log_lambda = min(math.log(self.lambda_max), max(math.log(self.lambda_min), moved))


@dataclass
class DualController:
    """The constraints of a run. `rate` is the dual learning rate per step; 0 keeps all multipliers fixed."""

    constraints: dict[str, Constraint]
    rate: float

    def observe(self, name: str, cost: float, count: int = 1) -> None:
        """See `Constraint.observe`; a cost that no constraint bounds is left out."""
        if name in self.constraints:
            self.constraints[name].observe(cost, count)

    def step(self) -> dict[str, float]:
        """Ascend every multiplier; returns them by name."""
        for constraint in self.constraints.values():
            constraint.ascend(self.rate)
        return {name: constraint.multiplier for name, constraint in self.constraints.items()}

    def figures(self) -> dict[str, float]:
        """What is plotted: `lambda/NAME`, `cost/NAME`, `cost_se/NAME`, `cost_samples/NAME`; unknown ones left out."""
        found: dict[str, float | None] = {}
        for name, constraint in self.constraints.items():
            found[f"lambda/{name}"] = constraint.multiplier
            found[f"cost/{name}"] = constraint.estimate
            found[f"cost_se/{name}"] = constraint.standard_error
            found[f"cost_samples/{name}"] = constraint.num_samples
        return {key: value for key, value in found.items() if value is not None}

    def state(self) -> dict[str, Any]:
        """What has to survive a kill (plain JSON)."""
        return {
            name: {"log_lambda": constraint.log_lambda, "costs": [list(row) for row in constraint.costs]}
            for name, constraint in self.constraints.items()
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a saved state.

        Raises:
            DataError: it belongs to other constraints, or is malformed.
        """
        if not isinstance(state, dict) or set(state) != set(self.constraints):
            raise DataError(
                f"The saved multipliers are of {', '.join(state) or 'nothing'}, this run's are "
                f"{', '.join(self.constraints)}: the checkpoint is of another run. Empty the stage's folder."
            )
        for name, saved in state.items():
            try:
                costs = deque((float(cost), int(count)) for cost, count in saved["costs"])
                log_lambda = float(saved["log_lambda"])
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(f"The saved multiplier of {name} is malformed ({error}); empty the folder.") from error
            self.constraints[name].log_lambda, self.constraints[name].costs = log_lambda, costs
