"""The card of a build: what the stage knows, in the shape that `card.corpus_card` takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from safekeel.corpus.card import corpus_card
from safekeel.corpus.cleaning import Cleaning
from safekeel.corpus.mixture import Mixed, MixtureConfig
from safekeel.corpus.sample import ROLES, Rejected
from safekeel.corpus.sources.base import Source
from safekeel.corpus.steps.degenerate import degenerate
from safekeel.corpus.synthesis.responses import Written
from safekeel.corpus.tokens import BatchCounter
from safekeel.records import Prompt
from safekeel.taxonomy import Taxonomy

MIN_PASS_RATE = 0.5
"""Of the prompts of a role: with fewer, the corpus is a selection. Our choice; STAR-1 kept 1,000 of 41,000 candidates,
but chose them for diversity too."""


def build_card(
    mixture: MixtureConfig,
    sources: Sequence[Source],
    cleaning: Cleaning,
    counter: BatchCounter,
    taxonomy: Taxonomy,
    rl: list[Prompt],
    rejected: list[Rejected],
    written: Written,
    mixed: Mixed,
) -> dict[str, Any]:
    """The card as plain JSON; warnings of the sources first, then what synthesis and the rows themselves show."""
    warnings = [f"{source.name}: {warning}" for source in sources for warning in source.warnings]
    return corpus_card(
        mixed.kept,
        rl,
        rejected,
        reports=cleaning.reports,
        sources=[_source_row(source) for source in sources],
        held_out=cleaning.held_out_card(),
        mixture={
            "stated": {role: mixture.ratio(role) for role in ROLES},
            "languages": {"zh": mixture.zh, "en": mixture.en},
            "tokens": mixed.tokens,
            "budget": mixture.max_tokens,
            "left_out": len(mixed.left_out),
            "shortfalls": mixed.shortfalls,
        },
        synthesis=written.card(),
        tokens=counter.parts(mixed.kept),
        warnings=[*warnings, *_low_pass_rates(written), *degenerate(mixed.kept)],
        taxonomy=taxonomy,
    )


def _low_pass_rates(written: Written) -> list[str]:
    """Roles for which most prompts found no good response: what is left is the easy part."""
    return [
        f"Only {tally.accepted} of {tally.prompts} {role} prompts found a good response; most frequent faults: "
        f"{', '.join(f'{reason} {count}' for reason, count in tally.by_reason.most_common(3))}. What is kept is the "
        "easy part; name another --teacher or --judge, or look at rejected.jsonl."
        for role, tally in written.tallies.items()
        if tally.accepted < MIN_PASS_RATE * tally.prompts
    ]


def _source_row(source: Source) -> dict[str, Any]:
    return {
        "name": source.name,
        "licence": source.licence,
        "training_allowed": source.training_allowed,
        "by_hand": not source.training_allowed,  # such a source is only open by the user's word
        "notes": list(source.notes),
    }
