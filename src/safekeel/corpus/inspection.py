"""Corpus inspection after TC260-003 / GB/T 45654-2025: how many rows, what passes, and where the results lie.

    people     >= 4,000 random rows read by people, >= 96% qualified        corpus inspect --sheet, --score
    automatic  >= 10% of the rows, keywords or a classifier, >= 98%         corpus inspect --check
    sources    a source with > 5% illegal content is not used               corpus inspect --score, per source

Thresholds and sizes as several independent secondary sources state them. The standard reads point estimates; beside
each stands an exact one-sided bound for the finite corpus. A row that nobody decided never counts as qualified.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from scipy import stats

from safekeel.artifact import run_lock
from safekeel.corpus.inspection_rows import CORPUS_FILE, Inspected
from safekeel.errors import DataError
from safekeel.files import atomic_write_json, read_json, sha256_file

Verdict = Literal["PASS", "FAIL", "INCONCLUSIVE"]
EXIT_CODES: dict[str, int] = {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 5}
MIN_ROWS, QUALIFIED = 4000, 0.96
"""Of the manual inspection."""
MIN_SHARE, QUALIFIED_BY_CHECK = 0.10, 0.98
"""Of the check by keywords or a classifier."""
MAX_ILLEGAL = 0.05
"""Of a source."""
MIN_PER_SOURCE = 100
"""Rows from which the point estimate decides on a source: 0 or 1 illegal row among 100 proves less than 5% (exact
one-sided 95% bounds 3.0% and 4.7%)."""
RESULTS = "inspection.json"
_FORMAT = 1
_ROUNDING = 1e-9


class Bounds(NamedTuple):
    """Exact bounds of a share in a finite population, in [0, 1]."""

    low: float
    high: float


def finite_bounds(hits: int, drawn: int, population: int, confidence: float = 0.95) -> Bounds:
    """One-sided exact bounds of the share of hits among all rows, from a random draw without replacement.

    Each bound holds with `confidence`; when all rows were drawn both are the share itself. (Hypergeometric tests turned
    round: Buonaccorsi 1987, The American Statistician 41:215-218.)

    Raises:
        ValueError: counts that are no draw from the population.
    """
    if not 0 <= hits <= drawn <= population or drawn < 1 or not 0 < confidence < 1:
        raise ValueError(f"got {hits} hits among {drawn} of {population} rows, expected 0 <= hits <= drawn <= all.")
    alpha = 1 - confidence
    possible = range(hits, population - (drawn - hits) + 1)  # what the draw leaves possible at all
    least = bisect_left(possible, True, key=lambda all_: stats.hypergeom.sf(hits - 1, population, all_, drawn) > alpha)
    beyond = bisect_left(possible, True, key=lambda all_: stats.hypergeom.cdf(hits, population, all_, drawn) <= alpha)
    return Bounds(possible[least] / population, possible[beyond - 1] / population)


def sample_needed(population: int) -> int:
    """Rows of the manual inspection: 4,000, or all of a smaller corpus."""
    return min(MIN_ROWS, population)


def check_needed(population: int, share: float = MIN_SHARE) -> int:
    """Rows of the automatic check: a share of the corpus, rounded up."""
    return min(population, math.ceil(share * population - _ROUNDING))


class Rate(NamedTuple):
    """A share of qualified rows, with everything it rests on."""

    value: float
    """Qualified among all drawn rows: what nobody decided counts against."""
    best: float
    """Were all undecided rows qualified."""
    rows: int
    undecided: int
    low: float
    high: float
    """Two-sided 95%, exact, from the worst case to the best case."""
    lower_95: float
    """One-sided 95%, exact, of the worst case."""
    threshold: float


def rate(qualified: int, undecided: int, drawn: int, population: int, threshold: float) -> Rate:
    """The share of qualified rows among `drawn`.

    Raises:
        ValueError: as `finite_bounds`.
    """
    best = qualified + undecided
    return Rate(
        value=qualified / drawn,
        best=best / drawn,
        rows=qualified,
        undecided=undecided,
        low=finite_bounds(qualified, drawn, population, 0.975).low,
        high=finite_bounds(best, drawn, population, 0.975).high,
        lower_95=finite_bounds(qualified, drawn, population).low,
        threshold=threshold,
    )


def decide(found: Rate, drawn: int, population: int, needed: int) -> tuple[Verdict, str]:
    """Verdict and reason. The point estimate decides, as the standard reads it, where enough rows were drawn; the worst
    case must pass, and only what fails in the best case has failed. Too few rows fail only by their exact bound."""
    if drawn < needed:
        most = finite_bounds(round(found.best * drawn), drawn, population).high
        if most < found.threshold - _ROUNDING:
            return "FAIL", f"even the upper 95% bound of {drawn:,} rows is below the threshold"
        return "INCONCLUSIVE", f"{drawn:,} rows; the standard asks for at least {needed:,} of {population:,}"
    if found.value >= found.threshold - _ROUNDING:
        proven = found.lower_95 >= found.threshold - _ROUNDING
        return (
            "PASS",
            "" if proven else "by the point estimate, as the standard reads; its lower bound is below",
        )
    if found.best < found.threshold - _ROUNDING:
        return "FAIL", ""
    return "INCONCLUSIVE", f"{found.undecided:,} of {drawn:,} rows are undecided, and they would decide it"


def results_path(inspected: Path) -> Path:
    """Where results on a corpus file lie: `inspection.json` in a corpus folder, else beside the file, by its name."""
    path = Path(inspected)
    if path.is_dir():
        return path / RESULTS
    return path.with_name(RESULTS if path.name == CORPUS_FILE else f"{path.stem}.{RESULTS}")


def record(corpus: Inspected, result: Mapping[str, Any]) -> Path:
    """Add a result to those on the corpus; only a result of the very same check (`id`) is replaced.

    Raises:
        DataError: the file there is no list of results; it is left alone.
        RunLockedError: another process writes in the folder.
    """
    path = results_path(corpus.path)
    with run_lock(path.parent):
        others = [row for row in _read(path) if row["id"] != result["id"]]
        atomic_write_json(path, {"format": _FORMAT, "checks": [*others, dict(result)]})
    return path


def inspections(inspected: Path) -> list[dict[str, Any]]:
    """All results on a corpus folder or file, oldest first; `current` = made on the file as it is now.

    Raises:
        DataError: `inspection.json` is malformed.
    """
    path = Path(inspected)
    file = path / CORPUS_FILE if path.is_dir() else path
    found = _read(results_path(path))
    now = sha256_file(file) if found and file.is_file() else None
    return [row | {"current": row["corpus"]["sha256"] == now} for row in found]


def _read(path: Path) -> list[dict[str, Any]]:
    content = read_json(path)
    if content is None and not path.exists():
        return []
    checks = content.get("checks") if isinstance(content, dict) else None
    if not isinstance(checks, list) or not all(_is_result(row) for row in checks):
        raise DataError(f"{path} holds no inspection results of SafeKeel; move it away, and inspect again.")
    return checks


def _is_result(row: Any) -> bool:
    wanted = ("id", "name", "verdict", "qualified", "corpus", "sampled", "population")
    return isinstance(row, dict) and all(key in row for key in wanted)
