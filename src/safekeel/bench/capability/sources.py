"""The items of the capability benchmarks, in one form: from local copies, or from the hub where none are named.

Every row is `{"id", "question", "answer", "subject"}`, multiple choice also `"A"` to `"D"`. The id is upstream's (or
the place in upstream's file) with split and subject, so that items of different splits never pair. Local copies are
what `SAFEKEEL_DATA` or `--data-dir` names; a test file is preferred where it is there. The hub's sets are read as
lm-eval reads them (same repository, configuration and split); that path could not be run where this was written.
"""

from __future__ import annotations

import csv
import json
import os
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from safekeel.bench.base import DATA_VARIABLE, find_data
from safekeel.bench.capability.extract import normal_number
from safekeel.errors import DataError, shown

Row = dict[str, str]
LETTERS = ("A", "B", "C", "D")
UPSTREAM = {
    "mmlu": "https://github.com/hendrycks/test (data.tar; hub: cais/mmlu)",
    "gsm8k": "https://github.com/openai/grade-school-math (hub: openai/gsm8k)",
    "ceval": "https://github.com/hkust-nlp/ceval (hub: ceval/ceval-exam)",
    "cmmlu": "https://github.com/haonan-li/CMMLU (hub: haonan-li/cmmlu)",
    "math500": "https://huggingface.co/datasets/HuggingFaceH4/MATH-500",
    "cmath": "https://huggingface.co/datasets/weitianwen/cmath",
    "aime24": "https://huggingface.co/datasets/Maxwell-Jia/AIME_2024",
    "aime25": "https://huggingface.co/datasets/math-ai/aime25",
    "gpqa-diamond": "https://huggingface.co/datasets/Idavidrein/gpqa (gated)",
}


def mmlu(data_dir: Path | None = None, **_: Any) -> list[Row]:
    """MMLU: 57 subjects; test (14,042), else validation (1,531), by the local copy. Headerless rows of 6 columns."""
    if not is_local(data_dir):
        return _choice((_mmlu_fields(row) for row in _hub("cais/mmlu", "all", "test")), "test")
    return _local_choice("mmlu", ("test", "val"), data_dir, ("question", *LETTERS, "answer"))


def ceval(data_dir: Path | None = None, **_: Any) -> list[Row]:
    """C-Eval: 52 subjects, validation (1,346): the answers of its test set are not public."""
    if not is_local(data_dir):
        return _hub_choice("ceval/ceval-exam", "val")
    return _local_choice("ceval", ("val",), data_dir)


def cmmlu(data_dir: Path | None = None, **_: Any) -> list[Row]:
    """CMMLU: 67 subjects; test (11,582), else the five development items of each (335), by the local copy."""
    if not is_local(data_dir):
        return _hub_choice("haonan-li/cmmlu", "test")
    return _local_choice("cmmlu", ("test", "dev"), data_dir)


def gsm8k(data_dir: Path | None = None, **_: Any) -> list[Row]:
    """GSM8K test: 1,319, or an excerpt of its first 300 where only that is there (same ids)."""
    rows = _jsonl("gsm8k", ("test.jsonl", "test_first300.jsonl"), data_dir) if is_local(data_dir) else None
    rows = rows if rows is not None else _hub("openai/gsm8k", "main", "test")
    return [
        {"id": str(number), "question": row["question"], "answer": normal_number(row["answer"].split("####")[-1])}
        for number, row in enumerate(rows)
    ]


def math500(data_dir: Path | None = None, **_: Any) -> list[Row]:
    """MATH-500: 500 problems of the MATH test set, answers in LaTeX."""
    rows = _jsonl("math500", ("test.jsonl",), data_dir) if is_local(data_dir) else None
    rows = rows if rows is not None else _hub("HuggingFaceH4/MATH-500", None, "test")
    return [
        {
            "id": row["unique_id"].removesuffix(".json"),
            "question": row["problem"],
            "answer": row["answer"],
            "subject": row["subject"],
        }
        for row in rows
    ]


def cmath(data_dir: Path | None = None, **_: Any) -> list[Row]:
    """CMATH: Chinese primary-school problems, 100 of each grade in the public test set."""
    rows = _jsonl("cmath", ("test.jsonl",), data_dir) if is_local(data_dir) else None
    rows = rows if rows is not None else _hub("weitianwen/cmath", None, "test")
    return [
        {
            "id": str(number),
            "question": row["question"],
            "answer": normal_number(row.get("answer") or row["golden"]),
            "subject": f"grade-{row['grade']}",
        }
        for number, row in enumerate(rows)
    ]


def aime24(data_dir: Path | None = None, **_: Any) -> list[Row]:
    """AIME 2024, 30 problems, from the hub only. Unverified: it could not be loaded where this was written."""
    rows = _hub("Maxwell-Jia/AIME_2024", None, "train")
    return [
        {"id": str(row["ID"]), "question": row["Problem"], "answer": normal_number(str(row["Answer"]))} for row in rows
    ]


def aime25(data_dir: Path | None = None, **_: Any) -> list[Row]:
    """AIME 2025, 30 problems, from the hub only. Unverified: it could not be loaded where this was written."""
    rows = _hub("math-ai/aime25", None, "test")
    return [
        {"id": str(number), "question": row["problem"], "answer": normal_number(str(row["answer"]))}
        for number, row in enumerate(rows)
    ]


def gpqa_diamond(data_dir: Path | None = None, **_: Any) -> list[Row]:
    """GPQA Diamond, 198 questions, from the hub only, where it is gated: accept its terms there first. Options are put
    in an order drawn from the question's id. Unverified: it could not be loaded where this was written."""
    found = []
    for row in _hub("Idavidrein/gpqa", "gpqa_diamond", "train"):
        texts = [row["Correct Answer"], *(row[f"Incorrect Answer {number}"] for number in (1, 2, 3))]
        order = random.Random(row["Record ID"]).sample(range(4), 4)
        options = {letter: texts[place].strip() for letter, place in zip(LETTERS, order, strict=True)}
        answer = LETTERS[order.index(0)]
        question = row["Question"].strip()
        found.append({"id": f"test/{row['Record ID']}", "question": question, **options, "answer": answer})
    return found


def development(name: str, data_dir: Path | None = None) -> list[Row]:
    """The five development items of each subject of a local multiple-choice set: the community's few-shot examples."""
    return _local_choice(name, ("dev",), data_dir, ("question", *LETTERS, "answer") if name == "mmlu" else None)


ROWS: dict[str, Callable[..., list[Row]]] = {
    "mmlu": mmlu,
    "gsm8k": gsm8k,
    "ceval": ceval,
    "cmmlu": cmmlu,
    "math500": math500,
    "cmath": cmath,
    "aime24": aime24,
    "aime25": aime25,
    "gpqa-diamond": gpqa_diamond,
}


def is_local(data_dir: Path | None) -> bool:
    """Whether local copies are named, by the argument or by SAFEKEEL_DATA."""
    return data_dir is not None or bool(os.environ.get(DATA_VARIABLE))


def _root(data_dir: Path | None) -> Path:
    return Path(data_dir or os.environ[DATA_VARIABLE])


def _jsonl(folder: str, names: tuple[str, ...], data_dir: Path | None) -> list[dict[str, Any]]:
    there = [name for name in names if (_root(data_dir) / folder / name).is_file()]
    path = find_data(folder, (there or list(names))[0], UPSTREAM[folder], data_dir)
    rows = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise DataError(
                    f"{path}:{number}: not JSON ({error}). Get it again from {UPSTREAM[folder]}."
                ) from error
    return rows


def _local_choice(
    folder: str, splits: tuple[str, ...], data_dir: Path | None, header: tuple[str, ...] | None = None
) -> list[Row]:
    """The first split that is there: a file per subject, in alphabetical order."""
    for split in splits:
        files = sorted((_root(data_dir) / folder / split).glob("*.csv"))
        if files:
            rows = (row for file in files for row in _csv(file, file.stem.removesuffix(f"_{split}"), header))
            return _choice(rows, split)
    find_data(folder, f"{splits[0]}/*.csv", UPSTREAM[folder], data_dir)
    raise AssertionError("find_data raises where there is no such file")


def _csv(path: Path, subject: str, header: tuple[str, ...] | None) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        for number, row in enumerate(csv.DictReader(file, header), start=1):
            if None in row or None in row.values():
                raise DataError(f"{path}: row {number} has too many or too few columns; get the file again.")
            yield {**row, "subject": subject}


def _choice(rows: Iterable[dict[str, Any]], split: str) -> list[Row]:
    """Rows of one form. CMMLU writes `Question` and `Answer` with a capital."""
    places: Counter[str] = Counter()
    found = []
    for row in rows:
        subject, answer = row["subject"], row.get("answer") or row.get("Answer")
        where = f"{split}/{subject}/{places[subject]}"
        if answer not in LETTERS:
            raise DataError(f"multiple-choice item {where}: the answer is {shown(answer)}, expected A, B, C or D.")
        places[subject] += 1
        question = row.get("question") or row.get("Question") or ""
        texts = {letter: str(row[letter]).strip() for letter in LETTERS}
        found.append({"id": where, "subject": subject, "question": question.strip(), **texts, "answer": answer})
    return found


def _mmlu_fields(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, **dict(zip(LETTERS, row["choices"], strict=True)), "answer": LETTERS[row["answer"]]}


def _hub_choice(path: str, split: str) -> list[Row]:
    try:
        from datasets import get_dataset_config_names

        subjects = sorted(get_dataset_config_names(path))
    except Exception as error:
        raise _unreachable(path, error) from error
    return _choice(({**row, "subject": name} for name in subjects for row in _hub(path, name, split)), split)


def _hub(path: str, name: str | None, split: str) -> Any:
    try:
        from datasets import load_dataset

        return load_dataset(path, name, split=split)
    except Exception as error:  # no network, no such set, a gate: many unrelated classes
        raise _unreachable(path, error) from error


def _unreachable(path: str, error: Exception) -> DataError:
    return DataError(
        f"The hub does not give {path} ({type(error).__name__}: {error}). With a local copy pass --data-dir DIR or set "
        f"{DATA_VARIABLE}=DIR; `safekeel data list` names the files."
    )
