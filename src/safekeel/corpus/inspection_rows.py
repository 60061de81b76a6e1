"""Rows to inspect: the training rows of a corpus folder, or any JSONL of texts before it is collected."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from safekeel.errors import DataError, UsageError, shown
from safekeel.files import sha256_file
from safekeel.records import Lang

CORPUS_FILE = "sft.jsonl"
Part = Literal["response", "whole"]
"""What is inspected. A safety corpus holds risky *requests* on purpose; content that a model learns to write is in the
response (thought and answer). `whole` = the request too; of a file of plain texts both are the text."""
_TEXTS = ("text", "content", "raw_content", "article")
_REQUESTS = ("prompt", "question", "instruction", "query", "problem")
_RESPONSES = ("answer", "response", "output", "completion", "chosen")
_TURNS = ("messages", "conversations", "conversation")
_CHINESE = re.compile(r"[\u3400-\u9fff]")


@dataclass(frozen=True)
class InspectRow:
    """One row: where it is, and what it says."""

    line: int
    """Line in the file, from 1: what a row is known by, since ids of foreign files need not be unique."""
    id: str
    source: str
    request: str
    thought: str
    answer: str

    @property
    def response(self) -> str:
        return "\n\n".join(filter(None, (self.thought, self.answer)))

    @property
    def lang(self) -> Lang:
        """By what the row says, since foreign files do not tell."""
        return "zh" if _CHINESE.search(self.response or self.request) else "en"

    def text(self, part: Part) -> str:
        """What is inspected of the row; "" where it has none of it."""
        whole = (self.request, self.thought, self.answer) if part == "whole" else (self.thought, self.answer)
        return "\n\n".join(filter(None, whole))


@dataclass(frozen=True)
class Inspected:
    """All rows of a corpus file."""

    path: Path
    sha256: str
    rows: list[InspectRow]


def read_rows(folder_or_file: Path, part: Part) -> Inspected:
    """Read `FOLDER/sft.jsonl`, or a JSONL file of our rows, of texts, of questions with answers, or of chats.

    UTF-8 with or without BOM, else GB18030. The source of a row is its `source` (of our rows the prompt's), else the
    file's name.

    Raises:
        DataError: no such file, an empty one, or (with its line) a row that is no JSON or has no known text; or no row
            has a response, and `part` asks for one.
    """
    path = Path(folder_or_file)
    if path.is_dir():
        path = path / CORPUS_FILE
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist; expected a corpus folder (with {CORPUS_FILE}) or a JSONL file.") from (
            error
        )
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); expected a JSONL file.") from error
    lines = _decoded(path, raw).split("\n")  # never splitlines: U+2028 may be inside a text
    rows = [_row(path, number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not rows:
        raise DataError(f"{path} has no rows; build the corpus first, or name another file.")
    if part == "response" and not any(row.response for row in rows):
        raise DataError(f"{path}: no row has a response, only requests; inspect the requests with --part whole.")
    return Inspected(path, sha256_file(path), rows)


def check_part(part: str) -> Part:
    """
    Raises:
        UsageError: neither `response` nor `whole`.
    """
    if part in get_args(Part):
        return cast(Part, part)
    raise UsageError(f"--part {part!r}: expected response (thought and answer) or whole (the request too).")


def _decoded(path: Path, raw: bytes) -> str:
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise DataError(f"{path} is neither UTF-8 nor GB18030; convert it to UTF-8.")


def _row(path: Path, line: int, content: str) -> InspectRow:
    try:
        value = json.loads(content)
    except ValueError as error:
        raise DataError(f"{path}:{line}: malformed JSON ({error}); expected one object or string per line.") from error
    if isinstance(value, str):
        return InspectRow(line, f"line {line}", path.name, "", "", _valid(value))
    if isinstance(value, dict) and (said := _said_in(value)) is not None:
        inner = value["prompt"] if isinstance(value.get("prompt"), dict) else value
        source = inner.get("source") or value.get("source")
        names = (str(value.get("id") or f"line {line}"), str(source or path.name))
        return InspectRow(line, *map(_valid, (*names, *said)))
    known = ", ".join([*_TEXTS, *_REQUESTS, *_RESPONSES, *_TURNS])
    got = f"fields {shown(sorted(value))}" if isinstance(value, dict) else f"a {type(value).__name__}"
    raise DataError(f"{path}:{line}: got {got} without a text; expected a string or an object with one of {known}.")


def _said_in(row: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """(request, thought, answer) of a row in any of the known forms; None where it has no text at all."""
    prompt = row.get("prompt")
    if isinstance(prompt, dict):  # our own sample
        return _turns(prompt.get("messages"))[0], _text(row.get("thought")), _text(row.get("answer"))
    for name in _TURNS:
        if isinstance(row.get(name), list):
            request, answer = _turns(row[name])
            return request, "", answer
    request = "\n".join(filter(None, (_text(row.get(name)) for name in (*_REQUESTS, "input"))))
    answers = (_text(row.get(name)) for name in _RESPONSES)
    answer = next(filter(None, answers), "")
    if any(name in row for name in (*_REQUESTS, *_RESPONSES)):
        return request, _text(row.get("thought")), answer
    named = next((name for name in _TEXTS if isinstance(row.get(name), str)), None)
    return None if named is None else ("", "", str(row[named]))


def _valid(text: str) -> str:
    """Half a surrogate pair (JSON may hold one as an escape) becomes `?`: no UTF-8 file can hold it."""
    return text.encode("utf-8", "replace").decode()


def _text(value: Any) -> str:
    """A string, or the turns of a list, as one text."""
    if isinstance(value, list):
        return "\n".join(filter(None, _turns(value)))
    return value if isinstance(value, str) else ""


def _turns(turns: Any) -> tuple[str, str]:
    """(what was said to the model, what the model said last) of a chat in OpenAI's or ShareGPT's form."""
    if not isinstance(turns, list):
        return "", ""
    told = [
        (str(turn.get("role") or turn.get("from") or ""), _text(turn.get("content") or turn.get("value")))
        for turn in turns
        if isinstance(turn, dict)
    ]
    own = ("assistant", "gpt", "model", "bot")
    last = told.pop()[1] if told and told[-1][0] in own else ""
    asked = [text if len(told) == 1 else f"[{role}] {text}" for role, text in told]
    return "\n\n".join(asked), last
