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


def test_the_next_stage_under_the_same_label_has_its_own_rate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Batches of 64 both times: the second search begins where the first one did, hours later."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with ProgressReporter(Console(file=io.StringIO())) as report:
        for start in (0.0, 36000.0):
            for number in range(1, 6):
                now[0] = start + 16.0 * number
                report("search", 64 * number, 64 * 5)
    last = capsys.readouterr().err.splitlines()[-1]
    assert "search 320/320" in last and float(last.split("/s")[0].split()[-1]) == pytest.approx(4.0, abs=1.1)
