"""Step `risk_label`: a panel checks that risky prompts are risky, harmless ones harmless, and of which category.

    majority of those that answered       risky row              counter or general row
    agrees                                stays                  stays
    names another category                gets that category
    says the opposite                     (see below)            dropped: counter_is_risky, general_is_risky
    is none (a tie, nobody answered)      stays, not agreed      stays, not agreed

A risky prompt is dropped (`not_risky`) only where every labeller that looked at it calls it harmless: what is hard to
see is what a corpus is for. Not where the prompt need not be refused (`expect` is `either`, as in A.5): such a prompt
is harmless and still risky to answer. Each row notes in `checks["risk_label"]` the declared category, the one it has
now, whether the panel agreed, and all votes; replay rows are not asked about.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from safekeel.corpus.sample import Sample
from safekeel.corpus.steps.base import Drop
from safekeel.corpus.steps.risk_labellers import Labeller, Opinion
from safekeel.errors import UsageError

UNSCORED = "unscored"
Votes = dict[str, Opinion | None]
"""Labeller -> opinion, in the order of the panel; None = it cannot tell."""


class RiskLabelStep:
    """Labels the prompts of a batch by a panel; every labeller gets the whole batch at once."""

    name = "risk_label"

    def __init__(self, labellers: Sequence[Labeller]) -> None:
        """
        Args:
            labellers: such as `DeclaredLabeller()`, `EngineLabeller(…)`, `GuardLabeller(…)`; each has one vote.

        Raises:
            UsageError: no labeller that looks at the prompts, or two of the same name.
        """
        names = [labeller.name for labeller in labellers]
        if not any(labeller.independent for labeller in labellers) or len(set(names)) < len(names):
            raise UsageError(
                f"The panel of risk labellers is {names}; expected different ones, and among them a model or a guard."
            )
        self.labellers = tuple(labellers)
        self._independent = {labeller.name for labeller in labellers if labeller.independent}

    def __call__(self, batch: Sequence[Sample]) -> list[Sample | Drop]:
        """See `Step`.

        Raises:
            EngineError: an engine gave up; that concerns the run, not a row.
        """
        outcomes: list[Sample | Drop] = list(batch)
        asked = [place for place, sample in enumerate(batch) if sample.role != "replay"]
        if not asked:
            return outcomes
        rows = [batch[place] for place in asked]
        opinions = {labeller.name: labeller.label(rows) for labeller in self.labellers}
        for number, place in enumerate(asked):
            outcomes[place] = self._outcome(batch[place], {name: found[number] for name, found in opinions.items()})
        return outcomes

    def _outcome(self, sample: Sample, votes: Votes) -> Sample | Drop:
        given = [opinion for opinion in votes.values() if opinion is not None]
        looked = [votes[name] for name in self._independent if votes[name] is not None]
        harmful = sum(opinion.harmful for opinion in given)
        if sample.role != "risky":
            if looked and 2 * harmful > len(given):
                return Drop(f"{sample.role}_is_risky", _told(votes))
            return _labelled(sample, votes, sample.prompt.risk, bool(looked) and 2 * harmful < len(given))
        if looked and not any(opinion.harmful for opinion in looked if opinion) and sample.prompt.expect != "either":
            return Drop("not_risky", _told(votes))
        if not looked or 2 * harmful <= len(given):
            return _labelled(sample, votes, sample.prompt.risk, False)
        category = majority_category(given)
        return _labelled(sample, votes, category or sample.prompt.risk, category is not None or _no_category(given))


def majority_category(given: Sequence[Opinion]) -> str | None:
    """The category that more than half of those name that name one."""
    named = Counter(opinion.category for opinion in given if opinion.category is not None)
    return next((category for category, count in named.items() if 2 * count > named.total()), None)


def _no_category(given: Sequence[Opinion]) -> bool:
    return all(opinion.category is None for opinion in given)


def _labelled(sample: Sample, votes: Votes, category: str | None, agreed: bool) -> Sample:
    """The row with the panel's category, and the note of how it came about."""
    note = {
        "declared": sample.prompt.risk,
        "category": category,
        "agreed": agreed,
        "votes": {name: opinion.word if opinion else UNSCORED for name, opinion in votes.items()},
    }
    checks = sample.checks | {"risk_label": note}
    if category == sample.prompt.risk:
        return sample.model_copy(update={"checks": checks})
    return sample.model_copy(update={"prompt": sample.prompt.model_copy(update={"risk": category}), "checks": checks})


def _told(votes: Votes) -> str:
    return ", ".join(f"{name}: {opinion.word if opinion else UNSCORED}" for name, opinion in votes.items())
