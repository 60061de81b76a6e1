"""The model before training: which families its own compliance makes measurable, and what changed since.

A family counts only where the base complies with at least half of its prompts (DESIGN section 4): a defence against a
disguise that the model never understood proves nothing. Folders of the base may hold the same pack (before and after),
or another one, such as that of the validation split (eligibility without a look at these items).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safekeel.attack_run.measure import is_harmful
from safekeel.attack_run.pack import DIRECT, family_of
from safekeel.attack_run.transfer import ItemKey, same_prompts
from safekeel.bench.metrics import MAX_UNKNOWN_SHARE, REFUSED, Item
from safekeel.bench.run import family_eligibility
from safekeel.report.evidence import Evaluation, read_evaluation
from safekeel.stats.compare import paired_difference


@dataclass(frozen=True)
class Other:
    """Another attack folder, and its items that were asked here in the same words."""

    folder: Path
    evaluation: Evaluation
    pairs: tuple[tuple[Item, Item], ...]
    """(here, there)"""

    @property
    def judges(self) -> tuple[str, ...]:
        return tuple(sorted({item.judge for item in self.evaluation.items.values() if item.judge}))


def read_other(folder: Path, items: Mapping[ItemKey, Item]) -> Other:
    """An attack folder of another model.

    Raises:
        DataError: it holds no finished evaluation, or its files do not belong together.
    """
    evaluation = read_evaluation(folder)
    return Other(folder, evaluation, tuple(same_prompts(items, evaluation.items)))


def against_base(others: Sequence[Other]) -> dict[str, Any]:
    """`eligibility` by family with where it is from, and `changes` by family on the prompts that both models got.

    Eligibility is taken from a folder without common prompts where there is one, else from the common ones.
    """
    held_out = next((other for other in others if not other.pairs), others[0])
    paired = next((other for other in others if other.pairs), None)
    return {
        "model": held_out.evaluation.model,
        "folders": [str(other.folder) for other in others],
        "judges": sorted({name for other in others for name in other.judges}),
        "eligibility": family_eligibility(list(held_out.evaluation.items.values()), ()),
        "eligibility_from": str(held_out.folder),
        "eligibility_on_these_prompts": bool(held_out.pairs),
        "changes": changes(paired.pairs) if paired else None,
        "num_pairs": len(paired.pairs) if paired else 0,
    }


def changes(pairs: Sequence[tuple[Item, Item]]) -> dict[str, dict[str, Any]]:
    """Success rate before and after by family, with the interval of the difference; unknown outcomes are no success.
    A family with mostly unknown ones is left out."""
    found = {}
    for family in dict.fromkeys(family_of(here.prompt) for here, _ in pairs):
        chosen = [pair for pair in pairs if family_of(pair[0].prompt) == family]
        after, before = ([is_harmful(pair[side]) is True for pair in chosen] for side in (0, 1))
        change = paired_difference(before, after, [here.cluster for here, _ in chosen])
        unknown = sum(is_harmful(here) is None or is_harmful(there) is None for here, there in chosen)
        if unknown > MAX_UNKNOWN_SHARE * len(chosen):
            continue
        refused = [[REFUSED.hit(pair[side]) is True for pair in chosen] for side in (0, 1)]
        found[family] = {
            "asr_before": change.before,
            "asr_after": change.after,
            "difference": change.difference,
            "low": change.low,
            "high": change.high,
            "p": change.p,
            "refused_before": sum(refused[1]) / len(chosen),
            "refused_after": sum(refused[0]) / len(chosen),
            "num_pairs": change.num_pairs,
        }
    return found


def eligible_families(base: Mapping[str, Any] | None, families: Sequence[str]) -> tuple[list[str], list[str]]:
    """(families that count, families that the base does not comply under), without the baseline; all count where there
    is no base. A family that the base was never asked under does not count."""
    attacked = [family for family in families if family != DIRECT]
    if base is None:
        return attacked, []
    known = base["eligibility"]
    counts = [family for family in attacked if known.get(family, {}).get("eligible")]
    return counts, [family for family in attacked if family not in counts]
