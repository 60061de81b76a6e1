"""Rows of JSON: one object per line, or one document (a list, parallel lists, rows under a key, rows by id)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from safekeel.corpus.sample import Rejected
from safekeel.corpus.sources.columns import knows
from safekeel.corpus.sources.encodings import text_stream
from safekeel.corpus.sources.lines import Lines, RowTooLong
from safekeel.corpus.sources.raw import RawRow, rejected_row
from safekeel.corpus.sources.streams import Part
from safekeel.errors import DataError, nearest

if TYPE_CHECKING:
    from safekeel.corpus.sources.reading import Reading

MAX_DOCUMENT_CHARS = 512 << 20
"""The largest document that is parsed; Python's objects take about five times its size in memory."""
_NOT_JSON = (ValueError, RecursionError)  # malformed; a number of thousands of digits; nested too deep


def json_line_rows(part: Part, encoding: str, reading: Reading) -> Iterator[RawRow | Rejected]:
    """Objects of a file with one per line; a file that is one document after all is read as that."""
    if _opens_document(part, encoding):
        reading.notes.append(f"{part.where}: not one object per line but one JSON document")
        yield from document_rows(part, encoding, reading)
        return
    with text_stream(part, encoding, "\n") as stream:
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
                yield _line_row(line, f"{part.where}:{lines.number}")


def _line_row(line: str, where: str) -> RawRow | Rejected:
    try:
        value = json.loads(line)
    except _NOT_JSON as error:
        why = getattr(error, "msg", type(error).__name__)
        return rejected_row(where, "broken_line", f"no JSON ({why}), expected one object per line")
    return _row(value, where)


def document_rows(part: Part, encoding: str, reading: Reading) -> Iterator[RawRow | Rejected]:
    """Rows of one JSON document.

    Raises:
        DataError: it is no JSON, too large to parse at once, or of no known shape.
    """
    with text_stream(part, encoding, "\n") as stream:
        text = stream.read(MAX_DOCUMENT_CHARS + 1)
    if len(text) > MAX_DOCUMENT_CHARS:
        raise DataError(f"{part.where}: more than {MAX_DOCUMENT_CHARS:,} characters; write it as one object per line.")
    if not text.strip():
        return
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and knows_lines(text):
            reading.notes.append(f"{part.where}: not one JSON document but one object per line")
            lines = enumerate(text.split("\n"), 1)
            yield from (_line_row(line, f"{part.where}:{number}") for number, line in lines if line.strip())
            return
        raise DataError(
            f"{part.where}:{error.lineno}: not JSON ({error.msg}, column {error.colno}). Correct the file; one object "
            "per line (.jsonl) would lose only the broken line."
        ) from error
    except _NOT_JSON as error:
        raise DataError(
            f"{part.where}: JSON that cannot be read ({type(error).__name__}). Correct the file."
        ) from error
    del text
    for number, (name, item) in enumerate(_items(document, part.where, reading), 1):
        yield _row(item, f"{part.where}:{name or number}")


def knows_lines(text: str) -> bool:
    """Whether the first line of a text is an object of its own."""
    first = text.lstrip().split("\n", 1)[0]
    try:
        return isinstance(json.loads(first), dict)
    except _NOT_JSON:
        return False


def _opens_document(part: Part, encoding: str) -> bool:
    """A first line such as `[` or `{` alone, or a list of objects, begins a document."""
    with text_stream(part, encoding, "\n") as stream:
        for _ in range(1000):  # leading blank lines
            first = stream.readline(1 << 16)
            if first.strip() or not first:
                break
    first = first.strip()
    return first in ("[", "{") or (first.startswith("[") and first[1:].lstrip()[:1] in ("{", "]", ""))


def _row(value: Any, where: str) -> RawRow | Rejected:
    if isinstance(value, str):
        return RawRow({"prompt": value}, where)
    if not isinstance(value, dict):
        return rejected_row(where, "broken_row", f"a {type(value).__name__}, expected an object of named values")
    return RawRow(value, where)


def _items(document: Any, where: str, reading: Reading) -> Iterator[tuple[str, Any]]:
    """(name or "", row) of each row in a document, whatever its shape."""
    for name in (reading.key or "").split(".") if reading.key else ():
        if not isinstance(document, dict) or name not in document:
            known = list(document) if isinstance(document, dict) else []
            raise DataError(f"{where}: nothing under the key {reading.key!r}.{nearest(name, known)} {_keys(known)}")
        document = document[name]
    if isinstance(document, list):
        return (("", item) for item in document)
    if not isinstance(document, dict):
        raise DataError(f"{where}: the document is a {type(document).__name__}, expected a list of objects.")
    return _object_items(document, where, reading)


def _object_items(document: dict[str, Any], where: str, reading: Reading) -> Iterator[tuple[str, Any]]:
    tables = {key: value for key, value in document.items() if isinstance(value, list) and _is_rows(value)}
    lists = {key: value for key, value in document.items() if isinstance(value, list) and value}
    objects = {key: value for key, value in document.items() if isinstance(value, dict)}
    if knows(document) and not _are_columns(lists):
        return iter([("", document)])
    if len(tables) == 1:
        key = next(iter(tables))
        reading.notes.append(f"{where}: rows under the key {key!r}")
        return (("", item) for item in tables[key])
    if len(tables) > 1:
        raise DataError(f"{where}: rows under several keys: {', '.join(tables)}. Name one: ?key={next(iter(tables))}.")
    if lists and not objects:
        return _parallel(lists, where, reading)
    if len(objects) == 1 and not knows(next(iter(objects.values()))):
        return _object_items(next(iter(objects.values())), where, reading)
    if objects and len(objects) == len(document):
        reading.notes.append(f"{where}: rows by id")
        return ((key, {"id": key, **value}) for key, value in objects.items())
    raise DataError(f"{where}: an object without rows. {_keys(list(document))} Name the one with rows: ?key=NAME.")


def _is_rows(value: list[Any]) -> bool:
    return bool(value) and isinstance(value[0], dict)


def _are_columns(lists: dict[str, list[Any]]) -> bool:
    return bool(lists) and not any(_is_rows(value) for value in lists.values())


def _parallel(lists: dict[str, list[Any]], where: str, reading: Reading) -> Iterator[tuple[str, Any]]:
    """An object of lists, one per column, as PhysicalSafety has; empty ones are left out."""
    lengths = {key: len(value) for key, value in lists.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{key} {length}" for key, length in lengths.items())
        raise DataError(f"{where}: columns of different length ({listed}), expected equal ones. Correct the file.")
    reading.notes.append(f"{where}: one list per column ({', '.join(lists)})")
    return (("", dict(zip(lists, values, strict=True))) for values in zip(*lists.values(), strict=True))


def _keys(known: list[str]) -> str:
    return f"Its keys: {', '.join(map(str, known[:20]))}." if known else "It is no object."
