"""Read a filled sheet as a browser or a spreadsheet saved it: row id -> label, or an error with its row number."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from safekeel.corpus.inspection_labels import Choices
from safekeel.corpus.inspection_sheet import TEXT_COLUMNS, InspectionKey, key_path, text_hash
from safekeel.errors import DataError, explain, nearest, shown


def find_key(filled: Path, explicit: Path | None = None) -> InspectionKey:
    """The key of a filled sheet: the one named, else the one of its name, else the one beside it that knows its rows.

    Raises:
        DataError: none, or a malformed one.
    """
    if explicit is not None:
        return _read_key(explicit)
    if key_path(filled).exists():
        return _read_key(key_path(filled))
    ids = {row.get("id", "").strip() for _, row in read_cells(filled)}
    for path in sorted(filled.parent.glob("*.key.json")):
        try:
            key = _read_key(path)
        except DataError:  # another program's file of that name, or the key of a judge's sheet
            continue
        if any(row.id in ids for row in key.rows):
            return key
    raise DataError(
        f"{filled} has no key beside it: a filled sheet is read with the .key.json that `--sheet` wrote; name it with "
        "--key."
    )


def _read_key(path: Path) -> InspectionKey:
    try:
        return InspectionKey.model_validate_json(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist; expected the key that `corpus inspect --sheet` wrote.") from error
    except (ValidationError, UnicodeDecodeError) as error:
        why = explain(error, InspectionKey.model_fields) if isinstance(error, ValidationError) else str(error)
        raise DataError(f"{path} is no key of an inspection sheet: {why}") from error


def read_filled(filled: Path, key: InspectionKey, choices: Choices) -> dict[str, str]:
    """The label of every row of the key; "" where the cell is blank or the row is missing.

    Raises:
        DataError: with the row that a spreadsheet shows: an unknown label, an id that the key does not know, an id
            twice, or texts that are not the ones of the sheet; or not one row is labelled.
    """
    known = {row.id: row for row in key.rows}
    seen: dict[str, int] = {}
    labels = dict.fromkeys(known, "")
    for number, row in read_cells(filled):
        name = row["id"].strip()
        if name not in known:
            raise DataError(f"{filled}: row {number}: the id {shown(row['id'])} is not of this sheet; see the key.")
        if name in seen:
            raise DataError(f"{filled}: rows {seen[name]} and {number} have the same id {name!r}; remove one.")
        seen[name] = number
        label = choices.read(row["label"])
        if label is None:
            hint = nearest(row["label"].strip(), choices.labels)
            raise DataError(
                f"{filled}: row {number}: the label is {shown(row['label'])}, expected none, unsure, or one of the "
                f"{len(choices.labels) - 2} categories such as A.1.a.{hint}"
            )
        if _has_texts(row) and text_hash({name: row[name] for name in TEXT_COLUMNS}) != known[name].text:
            raise DataError(
                f"{filled}: row {number}: the text is not the one of the sheet, so its label may speak of another; "
                "fill the sheet as it was written."
            )
        labels[name] = label
    if not any(labels.values()):
        raise DataError(f"{filled}: not one of {len(labels):,} rows has a label; fill the column 'label' first.")
    return labels


def _has_texts(row: Mapping[str, str]) -> bool:
    """The page exports ids and labels only; a spreadsheet keeps the texts."""
    return all(name in row for name in TEXT_COLUMNS)


def read_cells(path: Path) -> list[tuple[int, dict[str, str]]]:
    """(Spreadsheet row number, cells) of a CSV as Excel saves it: UTF-8, UTF-16 or GBK; comma, semicolon or tab.

    Raises:
        DataError: it cannot be read or decoded, or has no columns `id` and `label`.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); expected a filled sheet.") from error
    text = _decoded(path, raw)
    first = text.split("\n", 1)[0]
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count), restval="")
    header = [name.strip() for name in reader.fieldnames or []]
    reader.fieldnames = header
    if missing := [name for name in ("id", "label") if name not in header]:
        raise DataError(f"{path} has no column {missing[0]!r}; it has: {', '.join(header)[:200] or 'none'}.")
    try:
        rows = [
            (number, {name: cell or "" for name, cell in row.items() if name})
            for number, row in enumerate(reader, start=2)
        ]
    except csv.Error as error:
        raise DataError(f"{path}: {error}; save it again as CSV UTF-8.") from error
    return [(number, row) for number, row in rows if any(row.values())]


def _decoded(path: Path, raw: bytes) -> str:
    encodings = ["utf-16"] if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else ["utf-8-sig", "gb18030"]
    for encoding in encodings:
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise DataError(f"{path} is neither UTF-8, UTF-16 nor GB18030; save it as CSV UTF-8.")
