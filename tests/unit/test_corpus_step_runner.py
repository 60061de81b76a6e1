"""The runner: order, reasons, reports, streaming."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from safekeel.corpus.sample import Rejected, Sample
from safekeel.corpus.steps.base import Drop, StepReport, run_steps, stream_steps
from safekeel.records import Message, Prompt


def sample(number: int) -> Sample:
    message = Message(role="user", content=f"question {number}")
    prompt = Prompt(
        id=f"p/{number}",
        messages=(message,),
        lang="en",
        risk=None,
        expect="answer",
        target=None,
        source="t",
        licence="t",
        meta={"where": f"file:{number}"},
    )
    return Sample(id=str(number), role="general", prompt=prompt)


class DropEvery:
    """Drops every n-th row, marks the others."""

    def __init__(self, name: str, every: int) -> None:
        self.name, self.every = name, every
        self.batches: list[int] = []

    def __call__(self, batch: Sequence[Sample]) -> list[Sample | Drop]:
        self.batches.append(len(batch))
        return [
            Drop("unwanted", f"a multiple of {self.every}")
            if int(row.id) % self.every == 0
            else row.model_copy(update={"made_by": self.name})
            for row in batch
        ]


class Forgetful(DropEvery):
    def __call__(self, batch: Sequence[Sample]) -> list[Sample | Drop]:
        return super().__call__(batch)[1:]


def test_rows_keep_their_order_and_dropped_ones_their_reason() -> None:
    seen: list[Rejected] = []
    told: list[tuple[int, int]] = []

    def progress(label: str, done: int, total: int, value: float = 0.0, note: str = "") -> None:
        told.append((done, total))

    steps = [DropEvery("twos", 2), DropEvery("threes", 3)]
    kept, rejected, reports = run_steps(
        [sample(number) for number in range(10)], steps, batch_size=4, on_rejected=seen.append, progress=progress
    )
    assert [row.id for row in kept] == ["1", "5", "7"]
    assert {row.sample.id: (row.step, row.reason, row.evidence, row.where) for row in rejected if row.sample} == {
        str(number): (
            ("twos", "unwanted", "a multiple of 2", f"file:{number}")
            if number % 2 == 0
            else ("threes", "unwanted", "a multiple of 3", f"file:{number}")
        )
        for number in (0, 2, 3, 4, 6, 8, 9)
    }
    assert seen == rejected
    assert [(one.step, one.rows_in, one.rows_kept, one.dropped, one.changed) for one in reports] == [
        ("twos", 10, 5, {"unwanted": 5}, 5),
        ("threes", 5, 3, {"unwanted": 2}, 3),
    ]
    assert all(report.rows_per_second > 0 for report in reports)
    assert told == [(4, 10), (8, 10), (10, 10)]


def test_no_rows_and_all_rows_dropped() -> None:
    assert run_steps([], [DropEvery("all", 1)])[:2] == ([], [])
    after = DropEvery("after", 2)
    kept, rejected, _ = run_steps([sample(number) for number in range(5)], [DropEvery("all", 1), after])
    assert (kept, len(rejected), after.batches) == ([], 5, [])


def test_streaming_reads_no_further_than_it_must() -> None:
    read: list[int] = []

    def rows() -> Iterator[Sample]:
        for number in range(1, 100):
            read.append(number)
            yield sample(number)

    step = DropEvery("step", 1000)
    stream = stream_steps(rows(), [step], [StepReport("step")], batch_size=10)
    next(stream)
    assert len(read) == 10


def test_a_step_that_loses_rows_or_shares_a_name_is_an_error() -> None:
    with pytest.raises(ValueError):
        run_steps([sample(1), sample(3)], [Forgetful("forgetful", 2)])
    with pytest.raises(ValueError, match="same name"):
        run_steps([sample(1)], [DropEvery("one", 2), DropEvery("one", 3)])
