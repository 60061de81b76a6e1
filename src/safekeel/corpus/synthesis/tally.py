"""What synthesis tried and what came of it, per role: the judge pass rates of the card."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from safekeel.corpus.sample import Sample

PLAIN = "none"
"""The category of samples without one."""


@dataclass
class Tally:
    """Counts of one role. A candidate is one response of a model; a prompt is accepted with one good candidate."""

    prompts: int = 0
    candidates: int = 0
    good_candidates: int = 0
    accepted: int = 0
    corrected: int = 0
    """Of the accepted: corrected from the target's own unsafe answer."""
    by_reason: Counter[str] = field(default_factory=Counter)
    """Why candidates were not good."""
    by_category: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    by_language: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def add(self, sample: Sample, faults: Iterable[str], candidates: int, accepted: bool, again: bool = False) -> None:
        """Count the candidates of one prompt.

        Args:
            faults: one per candidate that is not good.
            again: the prompt was counted before; this is its correction.
        """
        reasons = Counter(faults)
        self.prompts += not again
        self.candidates += candidates
        self.good_candidates += candidates - sum(reasons.values())
        self.accepted += accepted
        self.corrected += accepted and again
        self.by_reason.update(reasons)
        for row in (self.by_category[sample.prompt.risk or PLAIN], self.by_language[sample.prompt.lang]):
            row.update(prompts=int(not again), candidates=candidates, accepted=int(accepted))

    def card(self) -> dict[str, Any]:
        """As the card takes it."""
        return {
            "prompts": self.prompts,
            "candidates": self.candidates,
            "good_candidates": self.good_candidates,
            "accepted": self.accepted,
            "corrected": self.corrected,
            "by_reason": dict(self.by_reason.most_common()),
            "by_category": {name: dict(row) for name, row in sorted(self.by_category.items())},
            "by_language": {name: dict(row) for name, row in sorted(self.by_language.items())},
        }
