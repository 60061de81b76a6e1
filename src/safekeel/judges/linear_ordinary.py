"""Ordinary answers to ordinary instructions, for the `linear` judge: what is neither a refusal nor harmful.

Sets on safety hold few of them, and a judge that never saw any takes a short plain sentence for a refusal: without such
rows, 12% of the Chinese alpaca answers. It learns from rows written for this project; the alpaca answers of
LLaMA-Factory's demo only check it, since what their first authors allow is not clear (the carrier says Apache-2.0).
"""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

from safekeel.bench.base import find_data
from safekeel.errors import DataError
from safekeel.judges.base import NO
from safekeel.judges.label_sources import Asked, Labelled, LabelledSet, prompt_and_completion
from safekeel.records import Lang, Name, Record, read_jsonl

UPSTREAM = "github.com/hiyouga/LLaMA-Factory, data/alpaca_zh_demo.json and alpaca_en_demo.json"
UNSURE = {
    "zh": re.compile("抱歉|对不起|不好意思|无法|不能|不可以|没有给|没有提供|未提供|请提供|人工智能|语言模型|AI"),
    "en": re.compile(r"\b(sorry|apolog\w+|cannot|can.t|unable|not able|please provide|as an? (ai|language))\b", re.I),
}
"""What may be a refusal or a limit of ability; such an answer of alpaca is no example of either side."""
NEITHER: dict[Asked, str] = {("answer", "refused"): NO, ("answer", "harmful"): NO}


class OrdinaryRow(Record):
    """One row of `training/ordinary.jsonl`."""

    id: Name
    lang: Lang
    prompt: Name
    answer: Name


def ordinary_file() -> Path:
    """Where the packaged rows lie."""
    return Path(str(resources.files("safekeel.judges"))) / "training/ordinary.jsonl"


def read_ordinary(lang: Lang) -> LabelledSet:
    """Our own rows of a language as a labelled set.

    Raises:
        DataError: the packaged file is malformed.
    """
    rows = [row for row in read_jsonl(ordinary_file(), OrdinaryRow) if row.lang == lang]
    pairs = [
        prompt_and_completion(f"ordinary/{row.id}", 0, "safekeel", row.prompt, row.answer, lang, None) for row in rows
    ]
    items = [Labelled(*pair, NEITHER) for pair in pairs]
    note = "written for this by a language model: plain answers to harmless instructions"
    return LabelledSet(f"ordinary-{lang}", lang, "construction", items, [ordinary_file()], note)


def alpaca_answers(lang: Lang, data_dir: Path | None) -> LabelledSet:
    """Answers to harmless instructions without words of apology or inability, for checking alone.

    Raises:
        DataError: the file is missing or malformed.
    """
    path = find_data("alpaca_demo", f"alpaca_{lang}_demo.json", UPSTREAM, data_dir)
    items = []
    for number, row in enumerate(_rows(path)):
        question = "\n".join(filter(None, (row["instruction"], row.get("input"))))
        answer = row["output"].strip()
        if answer and not UNSURE[lang].search(answer):
            pair = prompt_and_completion(f"alpaca-{lang}/{number}", 0, "alpaca", question, answer, lang, None)
            items.append(Labelled(*pair, NEITHER))
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
