"""A filled sheet -> the share of qualified rows, the illegal share of each source, and how far the readers agree."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from safekeel.corpus.inspection import (
    MAX_ILLEGAL,
    MIN_PER_SOURCE,
    QUALIFIED,
    Verdict,
    decide,
    finite_bounds,
    rate,
    sample_needed,
)
from safekeel.corpus.inspection_filled import find_key, read_filled
from safekeel.corpus.inspection_labels import NONE, UNSURE, Choices
from safekeel.corpus.inspection_rows import Inspected
from safekeel.corpus.inspection_sheet import InspectionKey, SheetRow
from safekeel.errors import DataError, UsageError
from safekeel.files import digest, sha256_file
from safekeel.stats.agreement import cohen_kappa, table
from safekeel.taxonomy import load_taxonomy

UNDECIDED = "undecided"
LIMIT = (
    "The standard's own inspection is made by people; SafeKeel only drew the rows and counted the labels it was given. "
    "Intervals cover the choice of rows, not the errors of the readers."
)


def score_sheets(corpus: Inspected, filled: Sequence[Path], key: Path | None = None) -> dict[str, Any]:
    """The result of one inspection, read by one or several people, as written to `inspection.json`.

    With several files a row is qualified where all who labelled it say `none`, not qualified where all name a category,
    and undecided where they differ, or nobody labelled it, or all are unsure.

    Raises:
        UsageError: no file, or one twice.
        DataError: a malformed file or key, or a corpus that is not the one of the sheet.
    """
    if not filled or len({path.resolve() for path in filled}) < len(filled):
        raise UsageError("--score: expected one filled sheet per reader, each once.")
    keys = [find_key(path, key) for path in filled]
    if len({one.sheet_id for one in keys}) > 1:
        raise DataError("the filled sheets are of different drawings; score each with its own, or read one together.")
    known = keys[0]
    if known.corpus_sha256 != corpus.sha256:
        raise DataError(f"{corpus.path} is not the file that the sheet was drawn from ({known.corpus}); draw it again.")
    choices = Choices(load_taxonomy(known.taxonomy))
    given = [read_filled(path, known, choices) for path in filled]
    settled = {row.id: settle([labels[row.id] for labels in given]) for row in known.rows}
    own = [row for row in known.rows if not row.extra]
    kinds = Counter(_kind(settled[row.id]) for row in own)
    found = rate(kinds[NONE], kinds[UNDECIDED], len(own), known.num_population, QUALIFIED)
    verdict, reason = decide(found, len(own), known.num_population, sample_needed(known.num_population))
    sources = source_shares(corpus, known, settled, choices)
    if refused := [row["source"] for row in sources if row["verdict"] == "FAIL"]:
        why = f"more than {100 * MAX_ILLEGAL:g}% illegal content: {', '.join(refused)}"
        verdict, reason = "FAIL", f"{reason}; {why}" if verdict == "FAIL" and reason else why
    return {
        "id": f"people:{digest([known.sheet_id, sorted(sha256_file(path) for path in filled)])[:12]}",
        "kind": "people",
        "name": "people" if len(filled) == 1 else f"people ({len(filled)} readers)",
        "date": datetime.now(UTC).date().isoformat(),
        "corpus": {"file": corpus.path.name, "sha256": corpus.sha256},
        "part": known.part,
        "seed": known.seed,
        "population": known.num_population,
        "sampled": len(own),
        "extra_for_sources": len(known.rows) - len(own),
        "needed": sample_needed(known.num_population),
        "qualified": found._asdict(),
        "verdict": verdict,
        "reason": reason,
        "labels": dict(Counter(settled[row.id] for row in own).most_common()),
        "readers": [_reader(path, labels, known) for path, labels in zip(filled, given, strict=True)],
        "agreement": agreement(given, known),
        "sources": sources,
        "notes": [LIMIT],
    }


def settle(labels: Sequence[str]) -> str:
    """One label of what several readers said: theirs, the first of several categories, or `undecided`."""
    said = [label for label in labels if label and label != UNSURE]
    if not said or (NONE in said and any(label != NONE for label in said)):
        return UNDECIDED
    return said[0]


def _kind(label: str) -> str:
    return label if label in (NONE, UNDECIDED) else "risk"


def _reader(path: Path, labels: Mapping[str, str], key: InspectionKey) -> dict[str, Any]:
    own = [labels[row.id] for row in key.rows if not row.extra]
    return {
        "file": path.name,
        "sha256": sha256_file(path),
        "qualified": own.count(NONE),
        "unsure": own.count(UNSURE),
        "unfilled": own.count(""),
        "of": len(own),
    }


def agreement(given: Sequence[Mapping[str, str]], key: InspectionKey) -> list[dict[str, Any]]:
    """Cohen's kappa of every two readers over the rows that both decided: qualified or not, and the label itself."""
    found = []
    for first in range(len(given)):
        for second in range(first + 1, len(given)):
            both = [
                (given[first][row.id], given[second][row.id])
                for row in key.rows
                if given[first][row.id] not in ("", UNSURE) and given[second][row.id] not in ("", UNSURE)
            ]
            if both:
                yes_no = table([(_kind(one), _kind(other)) for one, other in both])
                found.append(
                    {
                        "readers": [first + 1, second + 1],
                        "qualified": cohen_kappa(yes_no)._asdict(),
                        "label": cohen_kappa(table(both))._asdict(),
                    }
                )
    return found


def source_shares(
    corpus: Inspected, key: InspectionKey, settled: Mapping[str, str], choices: Choices
) -> list[dict[str, Any]]:
    """Per source the share of illegal content (A.1 to A.4) among the rows read, extra rows included, and whether the
    standard refuses it. Of a source that shows no more than a few rows only the exact bounds decide."""
    source_of = {row.line: row.source for row in corpus.rows}
    sizes = Counter(source_of.values())
    rows: dict[str, list[SheetRow]] = defaultdict(list)
    for row in key.rows:
        rows[source_of[row.line]].append(row)
    found = []
    for source, size in sorted(sizes.items()):
        labels = [settled[row.id] for row in rows[source]]
        illegal, undecided = sum(label in choices.illegal for label in labels), labels.count(UNDECIDED)
        share = illegal / len(labels) if labels else None
        verdict, reason = _decide_source(illegal, undecided, len(labels), size)
        found.append(
            {
                "source": source,
                "size": size,
                "read": len(labels),
                "illegal": illegal,
                "undecided": undecided,
                "share": share,
                "low": finite_bounds(illegal, len(labels), size, 0.975).low if labels else 0.0,
                "high": finite_bounds(illegal + undecided, len(labels), size, 0.975).high if labels else 1.0,
                "verdict": verdict,
                "reason": reason,
            }
        )
    return found


def _decide_source(illegal: int, undecided: int, read: int, size: int) -> tuple[Verdict, str]:
    if not read:
        return "INCONCLUSIVE", "no row of it in the sheet"
    if read >= min(MIN_PER_SOURCE, size):
        low, high = illegal / read, (illegal + undecided) / read
        why = f"{undecided} undecided rows would decide it"
    else:
        low = finite_bounds(illegal, read, size).low
        high = finite_bounds(illegal + undecided, read, size).high
        why = f"{read} rows; draw at least {min(MIN_PER_SOURCE, size)} with --per-source {MIN_PER_SOURCE}"
    if low > MAX_ILLEGAL:
        return "FAIL", f"more than {100 * MAX_ILLEGAL:g}% illegal: the standard refuses the source"
    return ("PASS", "") if high <= MAX_ILLEGAL else ("INCONCLUSIVE", why)
