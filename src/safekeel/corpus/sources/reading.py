"""Rows of a user's own file, whatever its shape: named values with the place each row stands at.

    .jsonl .json .csv .tsv .txt .parquet, also .gz .xz .bz2, or inside .zip

Exact or an error, never a guess: the encoding is the one that decodes every byte (`encodings`), a header is a header
only where it names a known column (`tables`), and a broken row is a `Rejected` with file and line.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safekeel.corpus.sample import Rejected
from safekeel.corpus.sources.base import STEP
from safekeel.corpus.sources.documents import document_rows, json_line_rows
from safekeel.corpus.sources.encodings import find_encoding, text_stream
from safekeel.corpus.sources.lines import MAX_ROW_CHARS, Lines, RowTooLong, too_long
from safekeel.corpus.sources.raw import RawRow, rejected_row
from safekeel.corpus.sources.streams import Format, Part, parts_of, readable
from safekeel.corpus.sources.tables import table_rows
from safekeel.errors import UsageError

PARQUET_BATCH = 256
"""Rows of a Parquet file in memory at once."""


@dataclass
class Reading:
    """How to read a file, and what was decided while reading it."""

    format: Format | None = None
    encoding: str | None = None
    header: bool | None = None
    """Of a table: None = found out."""
    columns: frozenset[str] = frozenset()
    """Names that the user said are columns: they tell a header."""
    key: str | None = None
    """Of a JSON document: where its list of rows is."""
    notes: list[str] = field(default_factory=list)


def read_rows(path: Path, reading: Reading) -> Iterator[RawRow | Rejected]:
    """Rows of a file, of all members where it is an archive.

    Raises:
        DataError: the file is missing, empty, in no known encoding, damaged, or of a shape that holds no rows.
    """
    for part in parts_of(path, reading.format):
        with readable(part.where):
            yield from (_checked(row) for row in _part_rows(part, reading))


def _part_rows(part: Part, reading: Reading) -> Iterator[RawRow | Rejected]:
    if part.format == "parquet":
        yield from _parquet_rows(part)
        return
    encoding = find_encoding(part, reading.encoding)
    if encoding not in ("utf-8", "utf-8-sig"):
        reading.notes.append(f"{part.where}: read as {encoding.upper()}")
    elif encoding == "utf-8-sig" and reading.encoding is None:
        reading.notes.append(f"{part.where}: UTF-8 with a byte order mark")
    if part.format == "jsonl":
        yield from json_line_rows(part, encoding, reading)
    elif part.format == "json":
        yield from document_rows(part, encoding, reading)
    elif part.format == "txt":
        yield from _text_rows(part, encoding)
    else:
        yield from table_rows(part, encoding, reading)


def _text_rows(part: Part, encoding: str) -> Iterator[RawRow | Rejected]:
    """One prompt per line."""
    with text_stream(part, encoding, "") as stream:
        lines = Lines(stream)
        while True:
            try:
                line = next(lines)
            except StopIteration:
                return
            except RowTooLong as error:
                yield rejected_row(f"{part.where}:{lines.number}", "row_too_long", str(error))
                continue
            if line.strip():
                yield RawRow({"prompt": line.strip()}, f"{part.where}:{lines.number}")


def _parquet_rows(part: Part) -> Iterator[RawRow | Rejected]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UsageError(f"{part.where}: Parquet needs pyarrow: pip install 'safekeel[corpus]'.") from error
    number = 0
    try:
        with part.open() as stream:
            seekable = stream if isinstance(stream, io.BufferedReader) else io.BytesIO(stream.read())
            for batch in pyarrow.parquet.ParquetFile(seekable).iter_batches(PARQUET_BATCH):
                for values in batch.to_pylist():
                    number += 1
                    yield RawRow(values, f"{part.where}:{number}")
    except pyarrow.ArrowException as error:
        raise OSError(f"row {number + 1}: {error}") from error


def _checked(row: RawRow | Rejected) -> RawRow | Rejected:
    """A row whose texts are too long or hold a NUL is rejected; its size is told and its text not kept."""
    if isinstance(row, Rejected):
        return row
    texts = list(_texts(row.values))
    if sum(map(len, texts)) > MAX_ROW_CHARS:
        size = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
        return Rejected(where=row.where, step=STEP, reason="row_too_long", evidence=too_long(size))
    if any("\0" in text for text in texts):
        return rejected_row(row.where, "nul_character", "a value holds a zero byte, expected text; the row is damaged")
    return row


def _texts(value: Any) -> Iterator[str]:
    """All strings in a value, however deep; a stack of its own, for JSON may be nested deeper than Python recurses."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
