"""What people get to label: the cells of a sheet, its columns, the closed sets of labels, and the instructions."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from importlib import resources
from typing import Literal

from safekeel.records import ANSWER_LABELS, CANNOT_JUDGE, THOUGHT_LABELS, Completion, Part, Prompt

Parts = Literal["answer", "both"]
LABELS: dict[Part, tuple[str, ...]] = {
    "answer": (*ANSWER_LABELS, CANNOT_JUDGE),
    "thought": (*THOUGHT_LABELS, CANNOT_JUDGE),
}
_FORMULA = tuple("=+-@\t\r＝＋－＠")
_MAX_CELL = 32_000  # Excel cuts a cell at 32,767 characters

_THOUGHTS = "<!-- with thoughts -->"  # what follows it in sheet_instructions.md is about thoughts


def instructions(part: Parts) -> str:
    """What people are told, with the closed sets of labels; in English and Chinese."""
    text = (resources.files("safekeel.judges") / "sheet_instructions.md").read_text("utf-8")
    answer, thought = text.split(_THOUGHTS)
    return answer if part == "answer" else answer + thought.lstrip("\n")


def parts_of(part: Parts) -> tuple[Part, ...]:
    """The parts that a sheet asks about."""
    return ("answer",) if part == "answer" else ("answer", "thought")


def columns(part: Parts, annotators: int) -> list[str]:
    """The columns that people fill: `annotator_1_answer`, …, `final_answer`."""
    raters = [f"annotator_{number}" for number in range(1, annotators + 1)] + ["final"]
    return [f"{rater}_{each}" for each in parts_of(part) for rater in raters]


def to_csv(ids: Sequence[str], rows: Sequence[tuple[Prompt, Completion]], part: Parts, annotators: int) -> str:
    """The sheet: what was asked and said, and empty columns to fill."""
    filled = columns(part, annotators)
    texts = ["question", *(["thought"] if part == "both" else []), "answer"]
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(["row", "id", *texts, *filled])
    for number, (name, (prompt, completion)) in enumerate(zip(ids, rows, strict=True), start=1):
        shown = {
            "question": question(prompt),
            "thought": completion.thought or "",
            "answer": completion.answer,
        }
        writer.writerow([number, name, *(cell(shown[text]) for text in texts), *[""] * len(filled)])
    return buffer.getvalue()


def question(prompt: Prompt) -> str:
    """What the model was asked; turns are named where there are several."""
    if len(prompt.messages) == 1:
        return prompt.messages[0].content
    return "\n\n".join(f"[{message.role}] {message.content}" for message in prompt.messages)


def cell(text: str) -> str:
    """Text as a cell that no spreadsheet runs as a formula, without NUL, and within Excel's limit."""
    text = text.replace("\0", "")
    if len(text) > _MAX_CELL:
        text = f"{text[:_MAX_CELL]} [… {len(text) - _MAX_CELL} more characters are in completions.jsonl]"
    return f"'{text}" if text.lstrip(" \n\u3000").startswith(_FORMULA) else text
