"""Best-of-N jailbreaking (Hughes et al. 2024, arXiv 2412.03556): ask again and again, each time spelt differently.

    for n in 1 … N:  ask augment(request); stop at the first harmful answer

It needs neither a model nor feedback, so any number of tries can be asked at once; its success grows with N as a power
law in the paper. The unchanged request comes first, so that the curve starts at the baseline.
"""

from __future__ import annotations

from dataclasses import dataclass

from safekeel.attacks.search.augment import SIGMA, augment
from safekeel.attacks.search.base import Context, Steps, ask_target, user
from safekeel.records import Lang, Prompt

MAX_REDRAWS = 20
"""Draws for one new spelling: a short request has few, and may have none left."""


@dataclass(frozen=True)
class BestOfN:
    """See the module."""

    name: str = "best-of-n"
    goal: str = "wear the target down with random misspellings"
    source: str = "Hughes et al. 2024 (arXiv 2412.03556)"
    languages: tuple[Lang, ...] = ("zh", "en")
    needs_attacker: bool = False
    attacker_calls_per_query: float = 0.0
    forward_passes: int = 0
    cost: str = "one target call per try, nothing else"
    sigma: float = SIGMA

    def run(self, goal: Prompt, context: Context) -> Steps[None]:
        """See `Strategy.run`."""
        text = context.request.text
        tried = {text}
        spellings, labels = [text], ["plain"]
        while spellings:
            yield from ask_target([(user(spelling),) for spelling in spellings], labels)
            spellings = self._new(text, tried, context)
            labels = ["augmented"] * len(spellings)

    def _new(self, text: str, tried: set[str], context: Context) -> list[str]:
        """As many new spellings as the target has room for; none when the text has no more."""
        found = []
        for _ in range(context.width):
            for _ in range(MAX_REDRAWS):
                spelling = augment(text, context.rng, self.sigma)
                if spelling not in tried:
                    tried.add(spelling)
                    found.append(spelling)
                    break
        return found
