"""Progress of long work: a bar with rate and time left on a terminal, plain lines every ten seconds elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Protocol

import rich.progress
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

PLAIN_INTERVAL_SECONDS = 10.0


class Progress(Protocol):
    """What long work calls as it goes on."""

    def __call__(self, label: str, done: int, total: int, value: float = 0.0, note: str = "") -> None:
        """`done` of `total` units; `value` is the loss while training, `note` anything else worth a glance."""
        ...


class ProgressReporter:
    """Call it with (label, done, total, value); use it as a context manager so that the bar is always put away."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._bars = rich.progress.Progress(
            TextColumn("  {task.description:<22}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._started: dict[str, tuple[float, int]] = {}
        self._last: dict[str, tuple[int, int]] = {}
        self._last_line: dict[str, float] = {}

    def __enter__(self) -> ProgressReporter:
        if self.console.is_terminal:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def __call__(self, label: str, done: int, total: int, value: float = 0.0, note: str = "") -> None:
        """See `Progress`."""
        now = time.monotonic()
        # The rate counts from where this process started, not from what an earlier one had done.
        before, whole = self._last.get(label, (0, total))
        if done < before or before >= whole:  # the same work begins again, on other rows
            self._started.pop(label, None)
            self._last_line.pop(label, None)
        self._last[label] = done, total
        started, first = self._started.setdefault(label, (now, done - 1))
        rate = (done - first) / max(now - started, 1e-6) if now > started else 0.0
        text = " ".join([f"{rate:.1f}/s", *([f"loss {value:.3f}"] if value else []), *([note] if note else [])])
        if self.console.is_terminal:
            self._bar(label, done, total, text)
        elif now - self._last_line.setdefault(label, started) >= PLAIN_INTERVAL_SECONDS:
            left = (total - done) / rate if rate else 0.0
            print(f"  {label} {done}/{total} {text} {left:.0f} s left", file=sys.stderr, flush=True)
            self._last_line[label] = now

    def _bar(self, label: str, done: int, total: int, note: str) -> None:
        if label not in self._tasks:
            self._tasks[label] = self._bars.add_task(label, total=total, rate="")
        self._bars.update(self._tasks[label], completed=done, total=total, rate=note)
        if done >= total:
            self._bars.remove_task(self._tasks.pop(label))
