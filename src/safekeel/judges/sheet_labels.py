"""Read a filled sheet as a spreadsheet program saved it: every row's settled label, or an error with its row number."""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from safekeel.errors import DataError, explain, nearest, shown
from safekeel.judges.sheet import Key
from safekeel.judges.sheet_text import LABELS, columns, parts_of
from safekeel.records import CANNOT_JUDGE, Part

ALIASES = {
    "拒绝并负责任引导": "responsible_refusal",
    "直接拒绝": "refusal",
    "不拒绝且给出无害回复": "harmless",
    "无害": "harmless",
    "不拒绝且给出风险回复": "harmful",
    "有害": "harmful",
    "无法判断": CANNOT_JUDGE,
}


def read_key(path: Path) -> Key:
    """The key of a sheet.

    Raises:
        DataError: missing or malformed.
    """
    try:
        return Key.model_validate_json(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: a sheet is read with its key; name it with --key.") from error
    except (ValidationError, UnicodeDecodeError) as error:
        why = explain(error, Key.model_fields) if isinstance(error, ValidationError) else str(error)
        raise DataError(f"{path} is no key of a sheet: {why}") from error


@dataclass(frozen=True)
class Answers:
    """The settled labels by row id, and per part the single raters' labels."""

    labels: dict[str, dict[Part, str]]
    raters: dict[Part, list[list[str]]]


def read_labels(sheet: Path, key: Key) -> Answers:
    """The labels of a filled sheet; row numbers in messages are those that a spreadsheet shows.

    Raises:
        DataError: as `import_sheet`.
    """
    header, rows = _read(sheet)
    known = {row.id for row in key.rows}
    seen: dict[str, int] = {}
    labels: dict[str, dict[Part, str]] = {}
    raters: dict[Part, list[list[str]]] = defaultdict(list)
    for number, row in rows:
        name = row["id"].strip()
        if name not in known:
            raise DataError(f"{sheet}: row {number}: the id {shown(row['id'])} is not in the key: another run's sheet?")
        if name in seen:
            raise DataError(f"{sheet}: rows {seen[name]} and {number} have the same id {row['id']!r}; remove one.")
        seen[name], labels[name] = number, {}
        for part in parts_of(key.part):
            given, final = _row_labels(sheet, number, row, header, part)
            raters[part].append(given)
            labels[name][part] = _settled(sheet, number, part, given, final)
    if missing := known - set(seen):
        raise DataError(
            f"{sheet}: {len(missing)} of {len(known)} rows of the key are missing (such as {min(missing)}). "
            "Leaving rows out would bias the rates: bring them back, or label them cannot_judge."
        )
    return Answers(labels, dict(raters))


def _row_labels(
    sheet: Path, number: int, row: Mapping[str, str], header: Sequence[str], part: Part
) -> tuple[list[str], str]:
    names = [name for name in header if re.fullmatch(rf"annotator_\d+_{part}", name)]
    found = [_label(sheet, number, name, row[name], part) for name in names]
    final = _label(sheet, number, f"final_{part}", row.get(f"final_{part}", ""), part)
    if part == "thought" and not row.get("thought", "").strip() and not any(found):
        found = ["absent"]
    if not final and not (found and found[0]):
        raise DataError(
            f"{sheet}: row {number}: {names[0] if names else f'annotator_1_{part}'} is blank; label every row."
        )
    return found, final


def _label(sheet: Path, number: int, column: str, value: str, part: Part) -> str:
    text = value.strip().lstrip("'").strip()
    label = ALIASES.get(text, text.lower().replace(" ", "_").replace("-", "_"))
    if label and label not in LABELS[part]:
        hint = nearest(label, LABELS[part])
        raise DataError(
            f"{sheet}: row {number}: {column} is {shown(value)}, expected one of {', '.join(LABELS[part])}.{hint}"
        )
    return label


def _settled(sheet: Path, number: int, part: Part, given: Sequence[str], final: str) -> str:
    said = sorted({label for label in given if label})
    if final:
        return final
    if len(said) > 1:
        raise DataError(f"{sheet}: row {number}: annotators differ ({' / '.join(said)}); settle it in final_{part}.")
    return said[0]


def _read(sheet: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Header and (spreadsheet row number, cells); as Excel saves it: UTF-8, UTF-16 or GBK; comma, semicolon or tab."""
    try:
        raw = sheet.read_bytes()
    except OSError as error:
        raise DataError(f"{sheet} cannot be read ({error.strerror}); expected a sheet of `judge sheet`.") from error
    encodings = ["utf-16"] if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else ["utf-8-sig", "gb18030"]
    for encoding in encodings:
        try:
            text = raw.decode(encoding)
            break
        except UnicodeDecodeError:
            continue
    else:
        raise DataError(f"{sheet} is neither UTF-8, UTF-16 nor GB18030; save it as CSV UTF-8.")
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restval="")
    header = [name.strip() for name in reader.fieldnames or []]
    reader.fieldnames = header
    wanted = ["id", *columns("answer", 1)[:1]]
    if missing := [name for name in wanted if name not in header]:
        raise DataError(f"{sheet} has no column {missing[0]!r}; it has: {', '.join(header)[:200] or 'none'}.")
    rows = [(number, {k: v or "" for k, v in row.items() if k}) for number, row in enumerate(reader, start=2)]
    return header, [(number, row) for number, row in rows if any(row.values())]
