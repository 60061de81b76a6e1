"""Progress lines: the rate of work that begins again under the same name starts anew, and is never negative."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from safekeel import progress
from safekeel.progress import ProgressReporter


def test_the_same_label_on_other_rows_starts_anew(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(0, 1000, 11))  # every call is later than the interval between two lines
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    with ProgressReporter(Console(file=io.StringIO())) as report:
        for done in (100, 1000, 3000):
            report("judge", done, 3000)
        for done in (5, 200, 400):
            report("judge", done, 400)
    lines = capsys.readouterr().err.splitlines()
    assert any("judge 400/400" in line for line in lines)
    assert not any("-" in line.split("judge")[1] for line in lines)
