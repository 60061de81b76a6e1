"""Balanced optimisation: safety subject to capability and over-refusal budgets, by dual ascent on log-multipliers.

    maximise  E[safety]   subject to   E[cost_k] <= budget_k
    log lambda_k <- clip(log lambda_k + rate * (estimate_k - budget_k) / scale_k)

Each reward's advantage is normalised in its group before weighting (TRL `normalize_then_sum`), so that a multiplier
keeps its meaning whatever the rewards' spread (Constrained GRPO, arXiv 2602.05863; log-multiplier form and window:
safe-rlhf's PPO-Lagrangian, 128-episode cost window, lambda_max).
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

WINDOW = 128  # samples per constraint over which a cost is averaged (safe-rlhf)
MIN_SAMPLES = 32  # fewer say nothing yet: the multiplier waits
LAMBDA_MIN, LAMBDA_MAX = 0.25, 5.0


@dataclass
class Constraint:
    """One budgeted cost and its multiplier. `budget` and costs are fractions; `scale` is the excess that counts as
    1."""

    name: str
    budget: float
    scale: float
    log_lambda: float = 0.0
    costs: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))

    @property
    def multiplier(self) -> float:
        return math.exp(self.log_lambda)

    @property
    def estimate(self) -> float | None:
        """Mean cost over the window; None until enough samples were seen."""
        return sum(self.costs) / len(self.costs) if len(self.costs) >= MIN_SAMPLES else None

    @property
    def standard_error(self) -> float | None:
        if (mean := self.estimate) is None:
            return None
        variance = sum((cost - mean) ** 2 for cost in self.costs) / (len(self.costs) - 1)
        return math.sqrt(variance / len(self.costs))

    def ascend(self, rate: float) -> None:
        """One dual step: the multiplier grows while the cost exceeds its budget and shrinks while it does not."""
        if self.estimate is None:
            return
        excess = max(-1.0, min(1.0, (self.estimate - self.budget) / self.scale))
        self.log_lambda = min(math.log(LAMBDA_MAX), max(math.log(LAMBDA_MIN), self.log_lambda + rate * excess))


@dataclass
class DualController:
    """The constraints of a run. `rate` is the dual learning rate per step; 0 keeps all multipliers fixed."""

    constraints: dict[str, Constraint]
    rate: float

    def observe(self, name: str, cost: float) -> None:
        self.constraints[name].costs.append(cost)

    def step(self) -> dict[str, float]:
        """Ascend every multiplier; returns them by name."""
        for constraint in self.constraints.values():
            constraint.ascend(self.rate)
        return {name: constraint.multiplier for name, constraint in self.constraints.items()}

    def state(self) -> dict:
        """What has to survive a kill (plain JSON)."""
        return {name: {"log_lambda": c.log_lambda, "costs": list(c.costs)} for name, c in self.constraints.items()}

    def restore(self, state: dict) -> None:
        """Raises KeyError if the state belongs to other constraints."""
        for name, saved in state.items():
            self.constraints[name].log_lambda = saved["log_lambda"]
            self.constraints[name].costs = deque(saved["costs"], maxlen=WINDOW)
