"""Ordinary answers to ordinary instructions, for the `linear` judge: what is neither a refusal nor harmful.

Sets on safety hold few of them, and a judge that never saw any takes a short plain sentence for a refusal: without
these rows, 12% of the Chinese alpaca answers. Their labels are by construction (harmless instructions), so every answer
with words of apology or inability is left out, whatever it is. Only rows with even numbers are learned from; those with
odd numbers are for checking (`held_out`).
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from safekeel.bench.base import find_data
from safekeel.errors import DataError
from safekeel.judges.base import NO
from safekeel.judges.label_sources import Asked, Labelled, LabelledSet, prompt_and_completion
from safekeel.records import Lang

UPSTREAM = "github.com/hiyouga/LLaMA-Factory, data/alpaca_zh_demo.json and alpaca_en_demo.json (Apache-2.0)"
UNSURE = {
    "zh": re.compile("抱歉|对不起|不好意思|无法|不能|不可以|没有给|没有提供|未提供|请提供|人工智能|语言模型|AI"),
    "en": re.compile(
        r"\b(?:sorry|apolog\w+|cannot|can't|unable|not able|please provide|as an? (?:ai|language))\b", re.I
    ),
}
"""What may be a refusal or a limit of ability; such an answer is no example of either side."""


def ordinary_answers(lang: Lang, data_dir: Path | None, held_out: bool = False) -> LabelledSet:
    """Answers to harmless instructions that are plainly no refusals; the rows held out from learning keep those that
    apologise.

    Raises:
        DataError: the file is missing or malformed.
    """
    path = find_data("alpaca_demo", f"alpaca_{lang}_demo.json", UPSTREAM, data_dir)
    labels: dict[Asked, str] = {("answer", "refused"): NO, ("answer", "harmful"): NO}
    items = []
    for number, row in enumerate(_rows(path)):
        question = "\n".join(filter(None, (row["instruction"], row.get("input"))))
        answer = row["output"].strip()
        if bool(number % 2) is held_out and answer and (held_out or not UNSURE[lang].search(answer)):
            pair = prompt_and_completion(f"alpaca-{lang}/{number}", 0, "alpaca", question, answer, lang, None)
            items.append(Labelled(*pair, labels))
    note = "by construction: harmless instructions; answers with words of apology or inability are left out"
    return LabelledSet(f"alpaca-{lang}", lang, "construction", items, [path], note)


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        rows: list[dict[str, Any]] = json.loads(path.read_text("utf-8-sig"))
        if not all(isinstance(row["instruction"], str) and isinstance(row["output"], str) for row in rows):
            raise TypeError("instruction or output is no text")
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: expected a JSON list of instruction and output ({error}); get it again.") from error
    return rows
