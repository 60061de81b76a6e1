"""The data card: what is in the corpus, what was thrown out and why, computed from the rows themselves.

rows, rejected rows, step reports ──corpus_card──► card.json ──card_markdown──► card.md
                                                      └───────card_html──────► card.html (one page, no network)
inspection.json (people, keywords, judges), where there is one, is added by `load_card`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from safekeel.corpus import card_counts as count
from safekeel.corpus.card_html import card_html, pick_examples
from safekeel.corpus.card_markdown import card_markdown
from safekeel.corpus.inspection import inspections
from safekeel.corpus.sample import Rejected, Sample
from safekeel.corpus.steps.degenerate import degenerate
from safekeel.errors import DataError
from safekeel.files import read_json
from safekeel.records import Prompt
from safekeel.taxonomy import Taxonomy, load_taxonomy

__all__ = ["StepLike", "card_html", "card_markdown", "corpus_card", "load_card", "pick_examples"]


class StepLike(Protocol):
    """What the card reads of a `StepReport`."""

    step: str
    rows_in: int
    rows_kept: int
    dropped: dict[str, int]
    changed: int
    seconds: float


def corpus_card(
    kept: list[Sample],
    rl_prompts: list[Prompt],
    rejected: list[Rejected],
    *,
    reports: Sequence[StepLike] = (),
    sources: Sequence[Mapping[str, Any]] = (),
    held_out: Mapping[str, Any] | None = None,
    mixture: Mapping[str, Any] | None = None,
    synthesis: Mapping[str, Any] | None = None,
    tokens: Mapping[str, Any] | None = None,
    warnings: Sequence[str] = (),
    taxonomy: Taxonomy | None = None,
) -> dict[str, Any]:
    """Everything the card says, as plain JSON. All optional tables may be left out; the card then says less.

    Args:
        sources: one per source: `{"name", "licence", "training_allowed": bool, "by_hand": bool, "rows": int,
            "notes": [text]}`; `by_hand` = its licence does not allow training, and someone allowed it all the same.
        held_out: `{"checked": {benchmark: items}, "not_checked": {benchmark: why}}` (or a list of names).
        mixture: `{"stated": {role: share}, "languages": {lang: share}, "tokens": int, "budget": int | None,
            "left_out": int, "shortfalls": [text]}`; any of them.
        synthesis: role -> `{"prompts", "candidates", "good_candidates", "accepted", "corrected",
            "by_reason": {reason: candidates}, "by_category": {id: {"prompts", "candidates", "accepted"}},
            "by_language": {lang: the same}}` (`synthesis.tally`); a prompt is accepted with one good candidate.
        tokens: `{"tokenizer": name, "prompt": [int], "thought": [int], "answer": [int]}`, one length per row of `kept`
            in its order; without it lengths are in characters, and the card says so.
        warnings: put above those that the card finds itself (`degenerate`, licences, gaps); equal ones appear once.
        taxonomy: of the categories; default `tc260`.

    Raises:
        ValueError: `tokens` has another number of lengths than there are rows.
    """
    risky = [sample for sample in kept if sample.role == "risky"]
    sizes = sorted(len(sample.thought) + len(sample.answer) for sample in kept)
    card: dict[str, Any] = {
        "samples": len(kept),
        "warnings": [],
        "by_role": count.counts(sample.role for sample in kept),
        "by_language": count.counts(sample.prompt.lang for sample in kept),
        "by_role_language": count.role_by_language(kept),
        "by_category": count.by_category(kept, taxonomy or load_taxonomy()),
        "risky_by_category": count.counts(sample.prompt.risk or "" for sample in risky),
        "by_attack": count.counts(sample.prompt.attack.name if sample.prompt.attack else "plain" for sample in kept),
        "by_source": count.counts(sample.prompt.source for sample in kept),
        "by_licence": count.counts(sample.prompt.licence for sample in kept),
        "by_author": count.counts(sample.made_by or "not recorded" for sample in kept),
        "by_style": count.counts(sample.style or "not recorded" for sample in kept),
        "licences": count.licences(kept, sources),
        "sources": [dict(source) for source in sources],
        "characters": {"median": sizes[len(sizes) // 2] if sizes else 0, "longest": sizes[-1] if sizes else 0},
        "lengths": count.lengths(kept, tokens),
        "distinct_refusals": len({sample.answer for sample in risky}),
        "repetition": {
            "risky_answers": count.repetition([sample.answer for sample in risky]),
            "risky_thoughts": count.repetition([sample.thought for sample in risky]),
        },
        "pairs": count.pairs(kept),
        "rl_prompts": {"total": len(rl_prompts), "by_expect": count.counts(prompt.expect for prompt in rl_prompts)},
        "rejected": count.counts(row.reason for row in rejected),
        "rejected_by_step": count.rejected_by_step(rejected),
        "duplicates": count.duplicates(rejected),
        "contamination": count.contamination(kept, rejected, held_out),
        "steps": [_step(report) for report in reports],
        "mixture": dict(mixture) if mixture else None,
        "synthesis": dict(synthesis) if synthesis else None,
    }
    card["warnings"] = list(dict.fromkeys([*warnings, *degenerate(kept), *_warnings(card)]))
    return card


def load_card(folder: Path) -> dict[str, Any]:
    """A corpus folder's card with the inspections made since, under `inspection`; a failed one is a warning on top.

    Raises:
        DataError: no card there, or a malformed one, or a malformed `inspection.json`.
    """
    path = Path(folder) / "card.json"
    card = read_json(path)
    if not isinstance(card, dict) or "samples" not in card:
        state = "is no data card" if path.exists() else "does not exist"
        raise DataError(
            f"{path} {state}; expected a folder written by the corpus stage, such as out/nano/10-corpus. "
            "Write one with `safekeel corpus build` or `safekeel run`."
        )
    found = inspections(Path(folder))
    failed = [
        f"The inspection by {row['name']} FAILED: {row.get('reason') or 'too few rows are qualified'}."
        for row in found
        if row["current"] and row["verdict"] == "FAIL"
    ]
    return card | {"inspection": found, "warnings": [*failed, *card.get("warnings", [])]}


def _step(report: StepLike) -> dict[str, Any]:
    return {
        "step": report.step,
        "rows_in": report.rows_in,
        "rows_kept": report.rows_kept,
        "dropped": dict(report.dropped),
        "changed": report.changed,
        "seconds": round(report.seconds, 3),
        "rows_per_second": round(report.rows_in / report.seconds) if report.seconds > 0 else None,
    }


def _warnings(card: Mapping[str, Any]) -> list[str]:
    """What an auditor must not overlook besides a degenerate corpus."""
    found = []
    for name, row in card["licences"].items():
        if row["by_hand"]:
            found.append(f"{row['samples']} samples under {name!r} were allowed by hand: the licence does not.")
        elif row["training_allowed"] is False:
            found.append(f"{row['samples']} samples are under {name!r}, which does not allow training.")
    if missing := card["contamination"]["not_checked"]:
        found.append(f"Not compared with {len(missing)} benchmarks, no copy at hand: {', '.join(sorted(missing))}.")
    return found + _gaps(card) + list((card["mixture"] or {}).get("shortfalls") or [])


def _gaps(card: Mapping[str, Any]) -> list[str]:
    """Kinds of rows that are missing although the corpus has risky ones."""
    roles = card["by_role"]
    if not roles.get("risky"):
        return []
    found = []
    empty = [name for name, row in card["by_category"].items() if not row["risky"]]
    if empty:
        names = ", ".join(empty[:8]) + (" …" if len(empty) > 8 else "")
        found.append(f"No risky sample in {len(empty)} of {len(card['by_category'])} categories: {names}.")
    if not roles.get("replay"):
        found.append("No replay of abilities: training on safety alone costs capability.")
    return found
