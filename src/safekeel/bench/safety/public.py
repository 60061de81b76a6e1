"""What the benchmarks made from public data share: files by the registry, prompts from rows, risk categories.

A benchmark says how its files become `Row`s; ids, licence, source, clusters and sampling are made here.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from safekeel.bench.base import BenchmarkBase, find_data, require_split, sample
from safekeel.bench.safety.readers import Cells
from safekeel.data.registry import DataSet, find_set
from safekeel.errors import DataError
from safekeel.records import Attack, Expect, Lang, Message, Prompt

RISKY_METRICS = ("dsr", "hr", "rr1", "refused")
Find = Callable[[str], Path]


@dataclass(frozen=True)
class Row:
    """One item of a benchmark before it is a prompt."""

    key: str
    """Upstream's id, or the row number where it has none."""
    text: str
    expect: Expect
    cells: Cells
    """Where it was read, for messages."""
    risk: str | None = None
    slices: tuple[str, ...] = ()
    target: str | None = None
    attack: Attack | None = None
    cluster: str | None = None
    meta: dict[str, Any] = field(default_factory=dict)


class PublicBenchmark(BenchmarkBase):
    """Base of benchmarks whose files are in the registry of public data."""

    name: str
    lang: Lang
    metrics: tuple[str, ...] = RISKY_METRICS
    splits: tuple[tuple[str, str], ...]
    """Each split with the data set (name in the registry) that holds it."""

    def rows(self, split: str, find: Find) -> Iterator[Row]:
        """The items of a split in the order of the source; `find` gives the local path of a file of its data set."""
        raise NotImplementedError

    def prompts(self, split: str, limit: int | None, data_dir: Path | None, seed: int) -> list[Prompt]:
        """The prompts; see `Benchmark.prompts`."""
        names = dict(self.splits)
        require_split(self.name, split, tuple(names))
        data_set = find_set(names[split])

        def find(file: str) -> Path:
            return find_data(data_set.folder, file, data_set.homepage, data_dir)

        first_with: dict[str, str] = {}  # text -> id of the first item with it
        seen: dict[str, str] = {}  # id -> where it was read
        prompts = []
        for row in self.rows(split, find):
            if row.key in seen:
                raise row.cells.fail(f"the id {row.key!r} is also at {seen[row.key]}, expected unique ids.")
            seen[row.key] = row.cells.where
            prompts.append(self._prompt(row, data_set, first_with))
        return sample(prompts, limit, seed)

    def _prompt(self, row: Row, data_set: DataSet, first_with: dict[str, str]) -> Prompt:
        prompt_id = f"{self.name}/{row.key}"
        cluster = f"{self.name}/{row.cluster}" if row.cluster else first_with.setdefault(row.text, prompt_id)
        return Prompt(
            id=prompt_id,
            messages=(Message(role="user", content=row.text),),
            lang=self.lang,
            risk=row.risk,
            expect=row.expect,
            target=row.target,
            source=f"{data_set.title} ({data_set.citation})",
            licence=data_set.licence,
            attack=row.attack,
            meta={"cluster": cluster, "slices": list(row.slices), **row.meta},
        )


@cache
def _categories() -> dict[str, dict[str, dict[str, str]]]:
    text = (resources.files("safekeel.bench.safety") / "categories.toml").read_text("utf-8")
    return tomllib.loads(text)


def risk_of(table: str, category: str, cells: Cells) -> str | None:
    """The TC260 category of an upstream category (`categories.toml`, with the reason); None where there is none.

    Raises:
        DataError: the table does not know the category; says where it was read.
    """
    known = _categories()[table]
    if category not in known:
        raise DataError(
            f"{cells.where}: the category {category!r} is unknown, expected one of {', '.join(known)}. Upstream may "
            "have changed; `safekeel data check` tells whether the file is the pinned one."
        )
    return known[category]["risk"] or None
