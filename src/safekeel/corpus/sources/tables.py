"""Rows of CSV and TSV files, with or without a header."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safekeel.corpus.sample import Rejected
from safekeel.corpus.sources.columns import knows, plain
from safekeel.corpus.sources.encodings import text_stream
from safekeel.corpus.sources.lines import MAX_ROW_CHARS, Lines, RowTooLong, too_long
from safekeel.corpus.sources.raw import RawRow, rejected_row
from safekeel.corpus.sources.streams import Part
from safekeel.errors import DataError

if TYPE_CHECKING:
    from safekeel.corpus.sources.reading import Reading

_DELIMITERS = {"csv": ",", "tsv": "\t"}
_ALSO = ("\t", ";", "|")
"""What files named .csv are separated by where a comma is the decimal sign, or by habit."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
"""A header that names no known column, in a file of one column: a single word such as `sentences`."""
Record = tuple[str, list[str]]
"""Place and cells."""


def table_rows(part: Part, encoding: str, reading: Reading) -> Iterator[RawRow | Rejected]:
    """Rows of a table. Without a header its columns are named 1, 2, 3, and one column alone is the prompt.

    Raises:
        DataError: several columns, none of them known, and the user did not say which is the prompt.
    """
    delimiter = _delimiter(part, encoding, reading)
    records = _records(part, encoding, delimiter)
    first: Record | None = None
    for record in records:
        if isinstance(record, Rejected):
            yield record
        else:
            first = record
            break
    if first is None:
        return
    header = _header(first, part, reading)
    names = header or [str(number) for number in range(1, len(first[1]) + 1)]
    if header is None:
        yield RawRow(dict(zip(names, first[1], strict=True)), first[0])
    for record in records:
        yield record if isinstance(record, Rejected) else _row(record, names)


def _delimiter(part: Part, encoding: str, reading: Reading) -> str:
    """The format's own; another one only where the first line names a known column when cut by it."""
    usual = _DELIMITERS[part.format]
    with text_stream(part, encoding, "") as stream:
        line = stream.readline(MAX_ROW_CHARS)
    if knows(_cells(line, usual)):
        return usual
    for other in (",", *_ALSO):
        cells = _cells(line, other)
        if len(cells) > 1 and (knows(cells) or reading.columns & set(cells)):
            reading.notes.append(f"{part.where}: separated by {other!r}")
            return other
    return usual


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []


def _header(first: Record, part: Part, reading: Reading) -> list[str] | None:
    """The column names in the first record, or None where it is already a row."""
    cells = [cell.strip() for cell in first[1]]
    named = knows(cells) or bool(reading.columns & {plain(cell) for cell in cells})
    lone_name = len(cells) == 1 and _NAME.fullmatch(cells[0]) is not None
    if reading.header is False:
        return None
    if reading.header or named or lone_name:
        if twice := [name for name in cells if name and cells.count(name) > 1]:
            raise DataError(f"{first[0]}: the column {twice[0]!r} occurs twice in the header. Rename one.")
        return [cell or str(number) for number, cell in enumerate(cells, 1)]
    numbered = {str(number) for number in range(1, len(cells) + 1)}
    if len(cells) > 1 and not reading.columns & numbered:
        raise DataError(
            f"{part.where}: row 1 has {len(cells)} cells and none is a known column name. If it is a header, say which "
            f"column is the prompt: ?prompt=NAME; if it is a row, by number: ?prompt=1 (1 to {len(cells)})."
        )
    reading.notes.append(f"{part.where}: no header, row 1 is a row ({len(cells)} column{'s'[: len(cells) > 1]})")
    return None


def _records(part: Part, encoding: str, delimiter: str) -> Iterator[Record | Rejected]:
    """Records with the line each begins at; blank ones are skipped. What is no CSV is rejected line by line, and
    reading goes on behind it.

    Raises:
        DataError: a quote opens a cell that never ends, so that the rest of the file would be lost in it.
    """
    with text_stream(part, encoding, "") as stream:
        lines = Lines(stream)
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        while True:
            start = Start(lines.number + 1, lines.num_bytes, lines.num_quotes)
            where = f"{part.where}:{start.line}"
            try:
                cells = _next(reader)
            except StopIteration:
                return
            except (RowTooLong, csv.Error) as error:
                if isinstance(error, RowTooLong) or "field limit" in str(error):
                    _skip_record(lines, start, where)
                    yield rejected_row(where, "row_too_long", too_long(lines.num_bytes - start.num_bytes))
                    continue
                if "end of data" in str(error) and lines.number > start.line:
                    raise _never_closed(where) from error
                for line in range(start.line, lines.number + 1):
                    went = f", in the row that begins in line {start.line}" if line > start.line else ""
                    yield rejected_row(f"{part.where}:{line}", "broken_line", f"no CSV{went}: {error}")
            else:
                if any(cell.strip() for cell in cells):
                    yield where, cells


@dataclass(frozen=True)
class Start:
    """Where a record begins, and what had been counted before it."""

    line: int
    num_bytes: int
    num_quotes: int


def _skip_record(lines: Lines, start: Start, where: str) -> None:
    """Read to the end of a record that is too long: inside a quoted cell the number of its quotes is odd."""
    while (lines.num_quotes - start.num_quotes) % 2:
        try:
            next(lines)
        except RowTooLong:
            continue
        except StopIteration:
            raise _never_closed(where) from None


def _never_closed(where: str) -> DataError:
    return DataError(
        f"{where}: a quotation mark opens a cell that never ends, so all rows behind it would be lost. Double the "
        'marks inside cells ("") or remove this one.'
    )


def _next(reader: Iterator[list[str]]) -> list[str]:
    """The next record. The longest cell is a setting of the whole process: it is put back each time."""
    before = csv.field_size_limit(MAX_ROW_CHARS)
    try:
        return next(reader)
    finally:
        csv.field_size_limit(before)


def _row(record: Record, names: list[str]) -> RawRow | Rejected:
    where, cells = record
    if len(cells) < len(names) or any(cells[len(names) :]):
        return rejected_row(where, "broken_row", f"{len(cells)} cells, expected {len(names)}")
    return RawRow(dict(zip(names, cells, strict=False)), where)
