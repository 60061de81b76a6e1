"""A run's rows for people to label blind: what a judge's card says of other data need not hold for this run.

Rows are drawn systematically from all rows sorted by language, expected behaviour and the judge's label, in random
order within: every row has the same chance, and each of the judge's labels gets its share of the sample to within one
row. That is at least as precise as a simple random sample (proportional allocation: Cochran 1977, Sampling Techniques,
5.6), and the confusion counted in the sample is the run's, which oversampling one label would distort (Begg and Greenes
1983, Biometrics 39:207-215). Who needs more rows of a rare label draws a larger sample.

The sheet holds no label, no model name and no prompt id. Its key, a JSON file beside it, says which rows they are.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from safekeel.errors import DataError, UsageError, nearest
from safekeel.files import atomic_open, atomic_write_json, atomic_write_text, make_folder, sha256_file
from safekeel.judges.base import unjudgeable
from safekeel.judges.calibrate import said
from safekeel.judges.label_sources import Asked
from safekeel.judges.sheet_text import Parts, instructions, to_csv
from safekeel.records import (
    CANNOT_JUDGE,
    Completion,
    Count,
    Name,
    Prompt,
    Record,
    Text,
    Verdict,
    read_jsonl,
)

MIN_ROWS = 300
"""Below, a 95% interval around a rate of 10% is wider than ±3.5 points: too wide to decide anything."""
FILES = ("prompts.jsonl", "completions.jsonl", "verdicts.jsonl")
LABELLED = ("refuse", "answer", "either")
"""Expected behaviours whose answers take one of the four labels; graded items have no need of people."""


@dataclass(frozen=True)
class RunRow:
    """One row of a run that people can label, and what its judge said."""

    prompt: Prompt
    completion: Completion
    given: dict[Asked, str]

    @property
    def cluster(self) -> str:
        prompt = self.prompt
        return str(prompt.meta.get("cluster") or (prompt.attack and prompt.attack.parent_id) or prompt.id)


@dataclass(frozen=True)
class Run:
    """The rows of an evaluation folder that people can label."""

    folder: Path
    rows: list[RunRow]
    num_unreadable: int
    """Truncated, failed or empty: no answer to label; they stay outside of every corrected rate."""
    judge: str
    judge_version: str
    hashes: dict[str, str]


class SheetRow(Record):
    """Which row of the run a row of the sheet is."""

    id: Name
    prompt_id: Name
    sample: Count


class Key(Record):
    """What must be known to read a filled sheet; it holds no label of any row."""

    format: Literal[1] = 1
    run: Text
    benchmark: Text | None
    judge: Name
    judge_version: Name
    part: Parts
    seed: int
    num_population: Count
    num_unreadable: Count
    strata: list[dict[str, Text | int]]
    files: dict[str, str]
    rows: Annotated[list[SheetRow], Field(min_length=1)]


def load_run(folder: Path, benchmark: str | None = None) -> Run:
    """Read an evaluation folder.

    Args:
        benchmark: only rows whose prompt id starts with this name.

    Raises:
        DataError: a file is missing or malformed, verdicts are missing, or no row can be labelled.
        UsageError: no such benchmark in the folder, or rows of several judges.
    """
    prompts = {row.id: row for row in read_jsonl(folder / FILES[0], Prompt)}
    verdicts: dict[tuple[str, int], list[Verdict]] = {}
    for verdict in read_jsonl(folder / FILES[2], Verdict):
        verdicts.setdefault((verdict.prompt_id, verdict.sample), []).append(verdict)
    known = sorted({name.split("/")[0] for name in prompts})
    if benchmark is not None and benchmark not in known:
        raise UsageError(f"--bench {benchmark!r} is not in {folder}.{nearest(benchmark, known)} It has: {known}.")
    rows, judges, num_unreadable = [], Counter[tuple[str, str]](), 0
    for completion in read_jsonl(folder / FILES[1], Completion):
        if (prompt := prompts.get(completion.prompt_id)) is None:
            raise DataError(f"{folder}: a completion of {completion.prompt_id!r}, which is no prompt of this run.")
        if prompt.expect not in LABELLED or benchmark not in (None, prompt.id.split("/")[0]):
            continue
        if unjudgeable(completion):
            num_unreadable += 1
            continue
        found = verdicts.get((prompt.id, completion.sample), [])
        if not found:
            raise DataError(f"{folder}: no verdict on {prompt.id!r}; judge the run with `safekeel score {folder}`.")
        judges.update({(verdict.judge, verdict.judge_version) for verdict in found})
        rows.append(RunRow(prompt, completion, said(found)))
    if not rows:
        raise DataError(
            f"{folder} has no row to label: all of {num_unreadable} are truncated, failed, empty or graded."
        )
    if len({judge for judge, _ in judges}) > 1:
        names = ", ".join(sorted({judge for judge, _ in judges}))
        raise UsageError(f"{folder} was judged by several judges ({names}); name one benchmark with --bench.")
    (judge, version), _ = judges.most_common(1)[0]
    return Run(folder, rows, num_unreadable, judge, version, {name: sha256_file(folder / name) for name in FILES})


def draw(run: Run, num_rows: int, rng: random.Random) -> list[RunRow]:
    """A systematic sample in random order; every row has the chance `num_rows` / rows."""
    shuffled = rng.sample(run.rows, len(run.rows))
    ordered = sorted(shuffled, key=stratum)
    step, start = len(ordered) / num_rows, rng.random()
    chosen = [ordered[min(len(ordered) - 1, int((start + place) * step))] for place in range(num_rows)]
    return rng.sample(chosen, num_rows)


def stratum(row: RunRow) -> tuple[str, str, str]:
    """(language, expected behaviour, the judge's label of the answer)."""
    return row.prompt.lang, row.prompt.expect, row.given.get(("answer", "label"), CANNOT_JUDGE)


def write_sheet(
    folder: Path,
    out: Path,
    num_rows: int = MIN_ROWS,
    *,
    seed: int = 0,
    part: Parts = "answer",
    annotators: int = 1,
    benchmark: str | None = None,
    allow_small: bool = False,
) -> Key:
    """Write `out` (a CSV for people), its key and its instructions beside it.

    Raises:
        UsageError: fewer rows than `MIN_ROWS` without `allow_small`, or more than the run has.
        DataError: as `load_run`.
    """
    if num_rows < (1 if allow_small else MIN_ROWS):
        raise UsageError(
            f"--n {num_rows} is fewer than {MIN_ROWS}, too few for an interval that decides anything; "
            "label more rows, or say --allow-small for a trial."
        )
    run = load_run(folder, benchmark)
    if num_rows > len(run.rows):
        raise UsageError(f"--n {num_rows}, but {folder} has {len(run.rows)} rows to label; ask for at most that.")
    rng = random.Random(seed)
    rows = draw(run, num_rows, rng)
    ids = [f"r{number:08x}" for number in rng.sample(range(16**8), num_rows)]
    sizes, drawn = Counter(map(stratum, run.rows)), Counter(map(stratum, rows))
    key = Key(
        run=str(folder),
        benchmark=benchmark,
        judge=run.judge,
        judge_version=run.judge_version,
        part=part,
        seed=seed,
        num_population=len(run.rows),
        num_unreadable=run.num_unreadable,
        strata=[
            dict(zip(("lang", "expect", "judge_label"), name, strict=True)) | {"size": size, "drawn": drawn[name]}
            for name, size in sorted(sizes.items())
        ],
        files=run.hashes,
        rows=[
            SheetRow(id=name, prompt_id=row.prompt.id, sample=row.completion.sample)
            for name, row in zip(ids, rows, strict=True)
        ],
    )
    make_folder(out.parent)
    with atomic_open(out) as file:
        places = [(row.prompt, row.completion) for row in rows]
        file.write(to_csv(ids, places, part, annotators).encode("utf-8-sig"))
    atomic_write_json(key_path(out), key.model_dump())
    atomic_write_text(out.with_suffix(".instructions.md"), instructions(part))
    return key


def key_path(sheet: Path) -> Path:
    """Where the key of a sheet lies."""
    return sheet.with_suffix(".key.json")
