"""What `30-select/candidates.json` says, as types (`train/select.py: as_table` writes it).

Files of before the rule was noted have None in its place, and the page then says "not recorded".
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Bound:
    """A figure with its one-sided bounds over `n` items or pairs; fractions."""

    value: float
    lower: float | None = None
    upper: float | None = None
    n: int | None = None
    effective_n: float | None = None


@dataclass(frozen=True)
class Bounds:
    """What rule `bounds` looks at: safety, and changes for the worse against the base on the same items."""

    safety: Bound
    over_refusal_rise: Bound
    capability_loss: Bound


@dataclass(frozen=True)
class Candidate:
    """A checkpoint at an alpha, measured on the validation set."""

    name: str
    safety: float
    over_refusal: float
    capability: float
    pareto: bool
    chosen: bool
    alpha: float | None = None
    checkpoint: str | None = None
    standing: str | None = None
    """PASS, INCONCLUSIVE or BREACH by rule `bounds`."""
    broken: list[str] = field(default_factory=list)
    """Benchmarks that surely lose more than the budget."""
    bounds: Bounds | None = None


@dataclass(frozen=True)
class Budgets:
    """What rule `bounds` held the candidates to."""

    capability: float
    over_refusal: float
    confidence: float


@dataclass(frozen=True)
class Selection:
    """The whole of `candidates.json`."""

    candidates: list[Candidate] = field(default_factory=list)
    rule: str | None = None
    chosen: str | None = None
    qualified: bool | None = None
    reason: str = ""
    notes: list[str] = field(default_factory=list)
    budgets: Budgets | None = None
