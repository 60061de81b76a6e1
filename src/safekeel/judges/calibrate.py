"""Measure a judge on labelled sets: a `JudgeCard` per judge, with one `Agreement` per set, part and question.

A judge that cannot tell is counted as such (`cannot_judge`), never as a side. A trained judge is measured on its own
training rows only through out-of-fold verdicts, which the caller passes in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from safekeel import __version__
from safekeel.errors import UsageError, nearest
from safekeel.files import sha256_file
from safekeel.judges.base import NO, Agreement, Judge, JudgeCard, is_no_refusal
from safekeel.judges.label_sources import SOURCES, Asked, Labelled, LabelledSet, answers_of
from safekeel.records import CANNOT_JUDGE, LabelSource, Lang, Verdict

Verdicts = Sequence[Sequence[Verdict]]
"""Per item of a set, in its order, the verdicts on it."""
JudgeSet = Callable[[LabelledSet], Verdicts]


def open_sources(names: Sequence[str], data_dir: Path | None) -> list[LabelledSet]:
    """Labelled sets by name.

    Raises:
        UsageError: no such name.
        DataError: a set's files are missing or malformed.
    """
    for name in names:
        if name not in SOURCES:
            known = ", ".join(SOURCES)
            raise UsageError(f"--source {name!r}: unknown.{nearest(name, SOURCES)} Known: {known}.")
    return [SOURCES[name](data_dir) for name in names]


def calibrate(
    judge: Judge,
    sources: Sequence[LabelledSet],
    *,
    command: str = "",
    judge_set: JudgeSet | None = None,
    notes: Sequence[str] = (),
) -> JudgeCard:
    """The judge's card over these sets.

    Args:
        judge_set: gives the verdicts on a set, where they are not `judge.judge_many`'s (out-of-fold verdicts).
        notes: what a reader must know about how the verdicts came about.

    Raises:
        ValueError: no sets.
        EngineError: the judge's engine fails.
    """
    if not sources:
        raise ValueError("got no labelled sets, expected at least one.")
    rows: list[Agreement] = []
    for source in sources:
        verdicts = (
            judge_set(source) if judge_set else judge.judge_many([(i.prompt, i.completion) for i in source.items])
        )
        rows += agreement(source, verdicts)
    made = {
        "date": datetime.now(UTC).date().isoformat(),
        "safekeel": __version__,
        "command": command,
        "sources": {source.name: describe(source) for source in sources},
        "notes": list(notes),
    }
    return JudgeCard(judge=judge.name, judge_version=judge.version, agreement=tuple(rows), made=made)


def describe(source: LabelledSet) -> dict[str, Any]:
    """Provenance of a set, for a card."""
    return {
        "label_source": source.label_source,
        "num_items": len(source.items),
        "note": source.note,
        "files": {file.name: sha256_file(file) for file in source.files},
    }


def agreement(source: LabelledSet, verdicts: Verdicts) -> list[Agreement]:
    """The set's labels against verdicts in the order of its items: one row per (part, question) with labels."""
    given = [said(found) for found in verdicts]
    return [
        compared(source.items, given, asked, source.lang, source.name, source.label_source) for asked in source.asked
    ]


def said(verdicts: Sequence[Verdict]) -> dict[Asked, str]:
    """What the verdicts on one completion say to each question; a question nobody answered is not in it."""
    known: dict[Asked, str] = {}
    for verdict in verdicts:
        if not verdict.unscored:
            known |= answers_of(verdict.part, verdict.label)
        elif is_no_refusal(verdict):
            known["answer", "refused"] = NO
    return known


def compared(
    items: Sequence[Labelled],
    given: Sequence[dict[Asked, str]],
    asked: Asked,
    lang: Lang,
    dataset: str,
    label_source: LabelSource,
) -> Agreement:
    """Confusion of reference labels with a judge's over the items that have a reference for this question.

    Raises:
        ValueError: items and verdicts of different number, or no item with a label.
    """
    pairs = Counter(
        (item.labels[asked], answers.get(asked, CANNOT_JUDGE))
        for item, answers in zip(items, given, strict=True)
        if asked in item.labels
    )
    if not pairs:
        raise ValueError(f"no item of {dataset} has a label for {asked}.")
    references = sorted({reference for reference, _ in pairs})
    return Agreement(
        lang=lang,
        part=asked[0],
        question=asked[1],
        dataset=dataset,
        label_source=label_source,
        num_items=sum(pairs.values()),
        num_unscored=sum(n for (_, label), n in pairs.items() if label == CANNOT_JUDGE),
        confusion={a: {b: n for (ref, b), n in sorted(pairs.items()) if ref == a} for a in references},
    )
