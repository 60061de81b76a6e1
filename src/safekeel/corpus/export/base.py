"""What an export format is given and gives back. A format turns samples into tables; `__init__` writes the files.

Corpus ──Format.render──► Rendered(tables, texts, left_out, notes, loading) ──export──► out/<format>/…
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from safekeel.chat import Tokenizer
from safekeel.corpus.sample import Rejected, Sample
from safekeel.errors import EngineError
from safekeel.files import atomic_open
from safekeel.records import Prompt

STEP = "export"


class CannotHold(Exception):
    """A format has no place for a sample; `reason` is a snake_case name, `evidence` says what was found."""

    def __init__(self, reason: str, evidence: str) -> None:
        super().__init__(evidence)
        self.reason, self.evidence = reason, evidence


@dataclass(frozen=True, slots=True)
class Corpus:
    """What all formats read."""

    samples: list[Sample]
    rl_prompts: list[Prompt] | None
    """None where the corpus folder has no `rl.jsonl`."""
    tokenizer: Tokenizer | None
    longest: int
    """Tokens of the longest sample: engines cut or drop above a default length."""
    how_counted: str


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of one file; its suffix decides how they are written (`.jsonl`, `.parquet`)."""

    name: str
    rows: list[dict[str, Any]]
    schema: Any = None
    """A `pyarrow.Schema` where the types cannot be left to the rows, because a column may be empty in all of them."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A finished export, not yet written."""

    tables: list[Table]
    loading: str
    """Markdown: how the engine loads it."""
    texts: dict[str, str] = field(default_factory=dict)
    """Small files beside the tables, by name."""
    left_out: list[Rejected] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What a reader must know before training; also printed by the command."""


class Format(Protocol):
    """One way of writing a corpus."""

    @property
    def name(self) -> str:
        """What the user asks for; also the folder's name."""
        ...

    @property
    def tool(self) -> str:
        """The engine, its version and the commit whose loader was read; empty for our own formats."""
        ...

    def render(self, corpus: Corpus) -> Rendered:
        """The files of this format. Never drops a sample silently: what it cannot hold is in `left_out`."""
        ...


def pyarrow() -> Any:
    """The pyarrow module.

    Raises:
        EngineError: it is not installed.
    """
    try:
        importlib.import_module("pyarrow.parquet")
        return importlib.import_module("pyarrow")
    except ImportError as error:
        raise EngineError("Parquet files need pyarrow: pip install 'safekeel[corpus]'.") from error


def message_type() -> Any:
    """Arrow type of a conversation: a list of {role, content}."""
    arrow = pyarrow()
    return arrow.list_(arrow.struct([("role", arrow.string()), ("content", arrow.string())]))


def write_table(path: Path, table: Table) -> None:
    """Write one table atomically. The parent folder must exist."""
    with atomic_open(path) as file:
        if path.suffix == ".parquet":
            arrow = pyarrow()
            arrow.parquet.write_table(arrow.Table.from_pylist(table.rows, schema=table.schema), file)
        else:
            file.writelines(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in table.rows)


def convert(
    samples: Iterable[Sample], row_of: Callable[[Sample], dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[Rejected]]:
    """Rows of all samples a format can hold, and the others with the reason."""
    rows: list[dict[str, Any]] = []
    left_out: list[Rejected] = []
    for sample in samples:
        try:
            rows.append(row_of(sample))
        except CannotHold as error:
            left_out.append(Rejected(sample=sample, step=STEP, reason=error.reason, evidence=error.evidence))
    return rows, left_out


def history_first(rows: Sequence[dict[str, Any]], column: str) -> Iterator[dict[str, Any]]:
    """The rows, one with a filled list in `column` first. Hugging Face datasets takes a column's type from the first
    megabytes of a JSON file, and a list that is empty there can hold no text further down."""
    first = next((index for index, row in enumerate(rows) if row[column]), None)
    if first is not None:
        yield rows[first]
    yield from (row for index, row in enumerate(rows) if index != first)
