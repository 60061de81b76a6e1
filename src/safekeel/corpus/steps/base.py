"""A step looks at a batch of rows and says, for each, what goes on: the row (maybe changed) or a reason to drop it.

    samples ──batches──► step ──► step ──► … ──► kept
                           └─ Drop(reason, evidence) ──► Rejected, with the step's name

Rows stream through all steps batch by batch, so that a step which remembers (duplicates) sees every row once, in order,
and nothing but the kept rows, the rejected rows and what a step remembers stays in memory.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol, TypeVar

from safekeel.corpus.sample import Rejected, Sample
from safekeel.progress import Progress

BATCH_SIZE = 2048
"""Rows per batch: large enough that per-batch numpy work pays, small enough that progress moves every second."""

RowT = TypeVar("RowT")


@dataclass(frozen=True, slots=True)
class Drop:
    """Why a row goes no further. `reason` is snake_case, from a small set; `evidence` is what a reader can check."""

    reason: str
    evidence: str = ""


class Step(Protocol):
    """One idea about rows. Deterministic: the same rows in the same order have the same outcome."""

    @property
    def name(self) -> str:
        """Snake_case, unique among the steps of a run; `Rejected.step` and the reports carry it."""
        ...

    def __call__(self, batch: Sequence[Sample]) -> list[Sample | Drop]:
        """One outcome per row, same order. A row that is not changed comes back as the same object; no row raises."""
        ...


@dataclass
class StepReport:
    """What one step did to all rows."""

    step: str
    rows_in: int = 0
    rows_kept: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    """Rows per reason."""
    changed: int = 0
    """Kept rows that are not the object that came in."""
    seconds: float = 0.0
    """Wall-clock inside this step."""

    @property
    def rows_per_second(self) -> float:
        return self.rows_in / self.seconds if self.seconds > 0 else 0.0


def run_steps(
    samples: Iterable[Sample],
    steps: Sequence[Step],
    *,
    batch_size: int = BATCH_SIZE,
    on_rejected: Callable[[Rejected], None] | None = None,
    progress: Progress | None = None,
) -> tuple[list[Sample], list[Rejected], list[StepReport]]:
    """Send all rows through all steps.

    Args:
        samples: rows; read lazily, so a generator is never held as a whole.
        on_rejected: called with each rejected row at once (to append it to a file); all of them are returned as well.
        progress: told after every batch; where `samples` has no length, the total is the rows seen so far.

    Returns:
        The kept rows in the order they came, the rejected rows, and one report per step.

    Raises:
        ValueError: as `stream_steps`.
    """
    reports = [StepReport(step.name) for step in steps]
    kept: list[Sample] = []
    rejected: list[Rejected] = []
    for row in stream_steps(samples, steps, reports, batch_size=batch_size, progress=progress):
        if isinstance(row, Sample):
            kept.append(row)
        else:
            rejected.append(row)
            if on_rejected is not None:
                on_rejected(row)
    return kept, rejected, reports


def stream_steps(
    samples: Iterable[Sample],
    steps: Sequence[Step],
    reports: Sequence[StepReport],
    *,
    batch_size: int = BATCH_SIZE,
    progress: Progress | None = None,
) -> Iterator[Sample | Rejected]:
    """As `run_steps`, but rows leave as they are decided: of each batch the rejected ones by step, then the kept ones.

    For corpora that do not fit in memory as rows (2.6 kB each). `reports`, one per step, are brought up to date.

    Raises:
        ValueError: a step returned another number of outcomes than rows, or two steps have one name.
    """
    if len({report.step for report in reports}) < len(reports):
        raise ValueError(f"two steps have the same name: {', '.join(report.step for report in reports)}")
    total = len(samples) if isinstance(samples, Sized) else 0
    done = 0
    for batch in batches(samples, batch_size):
        done += len(batch)
        rows = batch
        for step, report in zip(steps, reports, strict=True):
            if rows:  # earlier steps may have dropped the whole batch
                rows, dropped = _apply(step, report, rows)
                yield from dropped
        yield from rows
        if progress is not None:
            progress("corpus steps", done, max(total, done))


def batches(rows: Iterable[RowT], size: int) -> Iterator[list[RowT]]:
    """Lists of `size` rows, the last one shorter. (`itertools.batched` came with Python 3.12.)"""
    iterator = iter(rows)
    while batch := list(islice(iterator, size)):
        yield batch


def _apply(step: Step, report: StepReport, rows: list[Sample]) -> tuple[list[Sample], list[Rejected]]:
    """One step on one batch; its report is brought up to date."""
    started = time.perf_counter()
    outcomes = step(rows)
    report.seconds += time.perf_counter() - started
    kept: list[Sample] = []
    rejected: list[Rejected] = []
    reasons: Counter[str] = Counter(report.dropped)
    for row, outcome in zip(rows, outcomes, strict=True):
        if isinstance(outcome, Drop):
            reasons[outcome.reason] += 1
            where = str(row.prompt.meta.get("where", ""))
            rejected.append(
                Rejected(sample=row, where=where, step=step.name, reason=outcome.reason, evidence=outcome.evidence)
            )
        else:
            kept.append(outcome)
            report.changed += outcome is not row
    report.dropped = dict(reasons)
    report.rows_in += len(rows)
    report.rows_kept += len(kept)
    return kept, rejected
