"""Reading the file formats of public benchmarks: rows of named values, each with the place it stands at.

Every error names file and row, what was found and what was expected; values themselves may be harmful text and are
not shown.
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safekeel.errors import DataError

AGAIN = "Get the file again (`safekeel data check` tells whether it is the pinned one)."
UTF8, GB18030 = "utf-8-sig", "gb18030"
"""utf-8-sig reads UTF-8 with and without a byte order mark."""


@dataclass(frozen=True)
class Cells:
    """One row: its values by column, and the place (`file: row 3`) for messages."""

    values: dict[str, Any]
    where: str

    def text(self, column: str) -> str:
        """The value as text without surrounding blanks.

        Raises:
            DataError: there is no such column, or it is empty.
        """
        text = self.optional(column)
        if not text:
            raise DataError(f"{self.where}: {column!r} is missing or empty, expected text. {AGAIN}")
        return text

    def optional(self, column: str) -> str:
        """As `text`, but empty where there is nothing."""
        value = self.values.get(column)
        return "" if value is None else str(value).strip()

    def fail(self, problem: str) -> DataError:
        """The error that this row has a problem."""
        return DataError(f"{self.where}: {problem} {AGAIN}")


def read_csv(path: Path, columns: Sequence[str], encoding: str = UTF8) -> list[Cells]:
    """Rows of a CSV file with a header that holds at least `columns`; the header of a first column may be empty.

    Raises:
        DataError: wrong encoding, no row, a missing column, or a row with another number of cells.
    """
    header, *rows = _csv_rows(path, encoding)
    if missing := [name for name in columns if name not in header]:
        raise DataError(
            f"{path}: row 1 has the columns {', '.join(map(repr, header))[:200]}, expected also "
            f"{', '.join(map(repr, missing))}. {AGAIN}"
        )
    return _named(path, header, rows, first=2)


def read_headerless_csv(path: Path, columns: Sequence[str], encoding: str = UTF8) -> list[Cells]:
    """Rows of a CSV file without a header. Cells beyond `columns` must be empty.

    Raises:
        DataError: wrong encoding, no row, or a row with too few or too many cells.
    """
    rows = [row[: len(columns)] if not any(row[len(columns) :]) else row for row in _csv_rows(path, encoding)]
    return _named(path, columns, rows, first=1)


def read_jsonl(path: Path) -> list[Cells]:
    """Objects of a file with one JSON object per line; blank lines are skipped.

    Raises:
        DataError: not UTF-8, no line, or a line that is no JSON object.
    """
    return _json_lines(path, decode(path.read_bytes(), path))


def read_zip_jsonl(path: Path) -> list[Cells]:
    """`read_jsonl` of the only .jsonl file in a zip archive (what macOS adds under __MACOSX is no data).

    Raises:
        DataError: no archive, not exactly one such file in it, or as `read_jsonl`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(".jsonl") and "__MACOSX" not in name]
            content = archive.read(names[0]) if len(names) == 1 else None
    except zipfile.BadZipFile as error:
        raise DataError(f"{path}: no zip archive ({error}). {AGAIN}") from error
    if content is None:
        raise DataError(f"{path}: holds {len(names)} .jsonl files, expected one. {AGAIN}")
    return _json_lines(path, decode(content, path))


def read_json(path: Path, pick: Callable[[Any], Iterable[Any]] = iter) -> list[Cells]:
    """Objects of a JSON file: the items of its list, or what `pick` finds in it.

    Raises:
        DataError: not UTF-8 JSON, another structure, or no item.
    """
    try:
        items = list(pick(json.loads(decode(path.read_bytes(), path))))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: not JSON (line {error.lineno}: {error.msg}). {AGAIN}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not the structure of this benchmark ({error!r}). {AGAIN}") from error
    return _objects(path, items, "item", 1)


def decode(content: bytes, path: Path, encoding: str = UTF8) -> str:
    """Text of a file's bytes.

    Raises:
        DataError: they are not in that encoding, or there are none.
    """
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        name = "UTF-8" if encoding == UTF8 else encoding.upper()
        raise DataError(f"{path}: not {name} (byte {error.start}). {AGAIN}") from error
    if not text.strip():
        raise DataError(f"{path}: the file is empty. {AGAIN}")
    return text


def _csv_rows(path: Path, encoding: str) -> list[list[str]]:
    text = decode(path.read_bytes(), path, encoding)
    try:
        return [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except csv.Error as error:
        raise DataError(f"{path}: no CSV ({error}). {AGAIN}") from error


def _named(path: Path, columns: Sequence[str], rows: list[list[str]], first: int) -> list[Cells]:
    for number, row in enumerate(rows, first):
        if len(row) != len(columns):
            raise DataError(f"{path}: row {number} has {len(row)} cells, expected {len(columns)}. {AGAIN}")
    return _objects(path, [dict(zip(columns, row, strict=True)) for row in rows], "row", first)


def _json_lines(path: Path, text: str) -> list[Cells]:
    items = []
    # Lines end at LF only: str.splitlines would also cut at U+2028 inside a prompt.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                items.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise DataError(f"{path}: line {number} is no JSON ({error.msg}). {AGAIN}") from error
    return _objects(path, items, "row", 1)


def _objects(path: Path, items: list[Any], word: str, first: int) -> list[Cells]:
    if not items:
        raise DataError(f"{path}: holds no {word}. {AGAIN}")
    for number, item in enumerate(items, first):
        if not isinstance(item, dict):
            raise DataError(f"{path}: {word} {number} is a {type(item).__name__}, expected an object. {AGAIN}")
    return [Cells(item, f"{path}: {word} {number}") for number, item in enumerate(items, first)]
