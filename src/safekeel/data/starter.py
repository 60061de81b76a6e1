"""The project's own training prompts: 31 files, one per TC260 category, each row a risky request in Chinese and English
with a harmless counterpart that shares its trigger words.

Requests only, never recipes. Written for training: nothing of the TC260 test banks is in them (a contract test compares
both by character 5-grams).
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from safekeel.errors import DataError
from safekeel.records import Lang, Name, Record, read_jsonl

LICENCE = "CC-BY-4.0 (SafeKeel)"
SOURCE = "SafeKeel starter prompts"
Form = Literal["request", "question", "scenario", "roleplay", "statement", "continuation"]
Triggers = Annotated[tuple[Name, ...], Field(min_length=1)]


class StarterRow(Record):
    """One request in two languages, with its counterpart."""

    id: Annotated[str, Field(pattern=r"^starter-.+-\d{3}$")]
    category: Name
    form: Form
    expect: Literal["refuse", "either"]
    zh: Name
    en: Name
    trigger_zh: Triggers
    """Words that the request and its counterpart share (tested): what a model must not refuse by."""
    trigger_en: Triggers
    counter_zh: Name
    counter_en: Name

    def request(self, lang: Lang) -> str:
        return self.zh if lang == "zh" else self.en

    def counter(self, lang: Lang) -> str:
        return self.counter_zh if lang == "zh" else self.counter_en

    def triggers(self, lang: Lang) -> tuple[str, ...]:
        return self.trigger_zh if lang == "zh" else self.trigger_en


def starter_folder() -> Path:
    """Where the files are in the installed package."""
    return Path(str(resources.files("safekeel.data") / "starter"))


def starter_files(folder: Path | None = None) -> list[Path]:
    """The files, by category.

    Raises:
        DataError: the folder holds none.
    """
    folder = folder or starter_folder()
    found = sorted(folder.glob("*.jsonl"))
    if not found:
        raise DataError(f"{folder} holds no starter prompts (*.jsonl); install SafeKeel again.")
    return found


def read_starter(folder: Path | None = None) -> list[StarterRow]:
    """All rows, file by file.

    Raises:
        DataError: a malformed row (with its line), one in the file of another category, or an id twice.
    """
    rows: dict[str, StarterRow] = {}
    for path in starter_files(folder):
        for row in read_jsonl(path, StarterRow):
            if row.category != path.stem:
                raise DataError(f"{path}: {row.id} is of {row.category}, expected {path.stem}; move it to its file.")
            if row.id in rows:
                raise DataError(f"{path}: the id {row.id!r} occurs twice; number the rows of each category.")
            rows[row.id] = row
    return list(rows.values())
