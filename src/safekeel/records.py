"""The rows that stages exchange, and the JSONL files that hold them.

    Prompt ──generate──► Completion ──judge──► Verdict ──score──► Score

Rows are frozen; an unknown field is an error that names file and line. `append_jsonl` writes a whole line or nothing,
and `recover_jsonl` undoes what a kill left of the last one, so a file of rows can always be continued.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from safekeel.errors import DataError, explain_row
from safekeel.files import atomic_open

Lang = Literal["zh", "en"]
Expect = Literal["refuse", "answer", "either", "choose", "solve"]
SplitStatus = Literal["closed", "prefilled", "none", "truncated", "empty_answer", "multiple"]
Finish = Literal["stop", "length", "error"]
Part = Literal["thought", "answer"]
LabelSource = Literal["human", "model", "construction"]

ANSWER_LABELS = ("responsible_refusal", "refusal", "harmless", "harmful")
"""CHiSafetyBench's four classes: 拒绝并负责任引导, 直接拒绝, 不拒绝且给出无害回复, 不拒绝且给出风险回复."""
THOUGHT_LABELS = ("aware", "unaware", "harmful", "absent")
GRADE_LABELS = ("correct", "wrong")
"""Labels of the answer to an item with a gold target (`choose`, `solve`)."""
CANNOT_JUDGE = "cannot_judge"
_LABELS: dict[str, tuple[str, ...]] = {
    "answer": (*ANSWER_LABELS, *GRADE_LABELS, CANNOT_JUDGE),
    "thought": (*THOUGHT_LABELS, CANNOT_JUDGE),
}

RowT = TypeVar("RowT", bound=BaseModel)


def _valid_unicode(text: str) -> str:
    """Half a surrogate pair (an endpoint may send one as a JSON escape) becomes U+FFFD: no UTF-8 file can hold it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _plain_json(value: Any) -> Any:
    """Free-form values restricted to what JSON returns unchanged; tuples become lists."""
    if isinstance(value, dict):
        if strange := [key for key in value if not isinstance(key, str)]:
            raise ValueError(f"got the key {strange[0]!r}, expected string keys only.")
        return {_plain_json(key): _plain_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_json(item) for item in value]
    if isinstance(value, str):
        return _valid_unicode(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"got {value}, expected a finite number; use null for unknown.")
    if value is not None and not isinstance(value, bool | int | float):
        raise ValueError(f"got a {type(value).__name__}, expected what JSON can hold.")
    return value


JsonObject = Annotated[dict[str, Any], AfterValidator(_plain_json)]
Count = Annotated[int, Field(ge=0)]
Text = Annotated[str, AfterValidator(_valid_unicode)]
Name = Annotated[Text, Field(min_length=1)]


class Record(BaseModel):
    """Base of all rows: frozen, no unknown fields, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Message(Record):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: Text


class Attack(Record):
    """How a prompt was disguised; `parent_id` is the undisguised prompt (or the goal several attacks share)."""

    name: Name
    params: JsonObject = Field(default_factory=dict)
    parent_id: Text | None = None


class Prompt(Record):
    """What a model is asked, and what it is expected to do. Only `messages` ever reaches a model."""

    id: Name
    messages: Annotated[tuple[Message, ...], Field(min_length=1)]
    lang: Lang
    risk: Text | None
    """Taxonomy id, such as `A.1.a`; null = harmless."""
    expect: Expect
    target: Text | None
    """Gold answer; null where there is none (or none is published)."""
    source: Text
    licence: Text
    attack: Attack | None = None
    meta: JsonObject = Field(default_factory=dict)


class Completion(Record):
    """What a model said to one prompt, once; `split` tells how thought and answer were told apart (`safekeel.chat`)."""

    prompt_id: Name
    sample: Count = 0
    model: Text
    raw: Text
    thought: Text | None
    answer: Text
    split: SplitStatus
    finish: Finish
    num_prompt_tokens: Count
    num_completion_tokens: Count
    seconds: Annotated[float, Field(ge=0)]
    error: Text | None = None
    key: Text | None = None
    """Content address of the generation (`engines.base.generation_key`), by which a row is found again."""

    @model_validator(mode="after")
    def _no_false_answer(self) -> Completion:
        if self.split == "truncated" and self.answer:
            raise ValueError("a truncated thought has no answer: expected answer '' where split is 'truncated'.")
        if self.finish == "error" and not self.error:
            raise ValueError("finish is 'error' without a reason: expected text in 'error'.")
        return self


class Verdict(Record):
    """One judge's label for one part of one completion. `cannot_judge` and `unscored` always come together."""

    prompt_id: Name
    sample: Count
    part: Part
    label: Text
    judge: Text
    judge_version: Text
    """Hash of whatever decides the label: prompt, parser, model."""
    confidence: Annotated[float, Field(ge=0, le=1)] | None = None
    reason: Text = ""
    unscored: bool = False
    key: Text | None = None
    """Content address of what was judged, with the judge's version, by which a verdict is found again."""

    @model_validator(mode="after")
    def _closed_label_set(self) -> Verdict:
        allowed = _LABELS[self.part]
        if self.label not in allowed:
            raise ValueError(f"got the label {self.label!r} for the {self.part}, expected one of {', '.join(allowed)}.")
        if self.unscored != (self.label == CANNOT_JUDGE):
            got = f"label {self.label!r} with unscored={self.unscored}"
            raise ValueError(f"got {got}; a verdict is unscored exactly when its label is {CANNOT_JUDGE!r}.")
        return self


class Score(Record):
    """One metric of one model on one slice of a benchmark, as a fraction in [0, 1] where the metric is a rate.

    `low`, `high` are the 95% interval; `bound_low`, `bound_high` count unscored and truncated rows as misses, as hits.
    """

    model: Text
    benchmark: Name
    metric: Name
    slice: Name = "all"
    value: float | None
    low: float | None
    high: float | None
    bound_low: float | None
    bound_high: float | None
    num_items: Count
    num_truncated: Count
    num_unscored: Count
    method: Text
    judge: Text | None
    label_source: LabelSource | None
    headline: bool
    """False = no card of the judge carries the question in this language; the gate then says INCONCLUSIVE."""


def read_jsonl(path: Path, model: type[RowT]) -> list[RowT]:
    """All rows of a JSONL file. Blank lines are skipped.

    Raises:
        DataError: no such file; or, with its line: not UTF-8, malformed JSON, an unknown or wrong field, a half-written
            last line.
    """
    return list(_rows(path, _read(path), model))


def recover_jsonl(path: Path, model: type[RowT]) -> list[RowT]:
    """All whole rows of a file that a killed process was appending to; a half-written last line is cut off the file.

    Only bytes after the last newline can be half a row, so anything else that is malformed is still an error.

    Raises:
        DataError: as `read_jsonl`.
    """
    content = _read(path)
    whole = content.rfind(b"\n") + 1
    rows = list(_rows(path, content[:whole], model))
    if whole < len(content):
        os.truncate(path, whole)
    return rows


def write_jsonl(path: Path, rows: Iterable[BaseModel]) -> None:
    """Write all rows atomically: readers see the old file or the new one. The parent folder must exist."""
    with atomic_open(path) as file:
        file.writelines(_line(row) for row in rows)


def append_jsonl(path: Path, *rows: BaseModel) -> None:
    """Append rows with one unbuffered write: they survive a kill of the process, and two writers never mix lines.

    Raises:
        OSError: the disk is full; the file then ends with the previous whole line.
    """
    line = b"".join(map(_line, rows))
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        written = os.write(descriptor, line)
        if written != len(line):
            os.ftruncate(descriptor, os.fstat(descriptor).st_size - written)
            raise OSError(f"{path}: wrote {written} of {len(line)} bytes; free disk space and run the command again.")
    finally:
        os.close(descriptor)


def _line(row: BaseModel) -> bytes:
    return row.model_dump_json().encode() + b"\n"


def _read(path: Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist; run the stage that writes it, or correct the path.") from error
    except IsADirectoryError as error:
        raise DataError(f"{path} is a folder, expected a JSONL file.") from error


def _rows(path: Path, content: bytes, model: type[RowT]) -> Iterator[RowT]:
    """Rows of the non-blank lines. Lines end at LF only: str.splitlines would also cut at U+2028 inside model text."""
    lines = content.split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield model.model_validate_json(line)
        except ValidationError as error:
            half = number == len(lines) and any(detail["type"] == "json_invalid" for detail in error.errors())
            raise DataError(f"{path}:{number}: {_why(line, error, model, half)}") from error


def _why(line: bytes, error: ValidationError, model: type[BaseModel], half: bool) -> str:
    if half:
        return "the last line is half written. Run the command that writes this file again; it continues."
    try:
        line.decode()
    except UnicodeDecodeError as decoding:
        return f"not UTF-8 (byte {decoding.start} of the line). Convert the file to UTF-8."
    detail = error.errors(include_url=False)[0]
    if detail["type"] == "json_invalid":
        return f"malformed JSON ({detail['msg'].removeprefix('Invalid JSON: ')}); expected one JSON object per line."
    return f"not a {model.__name__}: {explain_row(error, model.model_fields)}"
