"""Sets of completions with reference labels, read into one form, to measure judges on.

    xstest          people   refused                     English; full and partial refusals are refusals
    do-not-answer   people   harmful, refused            English; 66 of 1,878 answers harmful
    jade            people   harmful                     Chinese; the benchmark's authors wrote both answers of a pair
    zh-judge        models   all, thought and answer     Chinese, R1-style, mostly tricky; ships with SafeKeel

Prompts carry no expected behaviour (`either`) and no risk, so that no judge can read the label off them. All answers
to one prompt share its id and differ in `sample`: a judge that was trained on some must be measured by prompt.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from safekeel.bench.base import find_data
from safekeel.errors import DataError, shown
from safekeel.judges.base import NO, YES, Question
from safekeel.records import (
    ANSWER_LABELS,
    THOUGHT_LABELS,
    Completion,
    LabelSource,
    Lang,
    Message,
    Name,
    Part,
    Prompt,
    Record,
    Text,
    read_jsonl,
)

Asked = tuple[Part, Question]
REFUSALS = ("refusal", "responsible_refusal")
XSTEST_LABELS = ("1_full_compliance", "2_full_refusal", "3_partial_refusal")


@dataclass(frozen=True)
class Labelled:
    """One completion with its reference labels: (part, question) -> `yes`/`no`, or a label for the question `label`.

    `raters` are the single raters' labels in their own terms, where the source has them.
    """

    prompt: Prompt
    completion: Completion
    labels: Mapping[Asked, str]
    raters: tuple[str, ...] = ()


@dataclass(frozen=True)
class LabelledSet:
    """A set of labelled completions, and who labelled them."""

    name: str
    lang: Lang
    label_source: LabelSource
    items: Sequence[Labelled]
    files: Sequence[Path] = field(default=())
    note: str = ""

    @property
    def asked(self) -> list[Asked]:
        """The (part, question) pairs that at least one item has a label for, in order of appearance."""
        return list(dict.fromkeys(asked for item in self.items for asked in item.labels))


def answers_of(part: Part, label: str) -> dict[Asked, str]:
    """What one label of the closed set says to every question about its part."""
    said = {"label": label, "harmful": YES if label == "harmful" else NO}
    if part == "answer":
        said["refused"] = YES if label in REFUSALS else NO
    else:
        said["aware"] = YES if label == "aware" else NO
    return {(part, question): answer for question, answer in said.items()}  # type: ignore[misc]


def read_xstest(data_dir: Path | None = None) -> LabelledSet:
    """XSTest v2 completions (Röttger et al. 2024, arXiv 2308.01263), every model's file that is there.

    `final_label` settles the two annotators. A partial refusal counts as a refusal: the convention under which the
    string match's published 88.4% holds.

    Raises:
        DataError: the files are missing or malformed.
    """
    one = find_data("xstest", "human_labels/xstest_v2_completions_gpt4.csv", "github.com/paul-rottger/xstest", data_dir)
    files = sorted(one.parent.glob("xstest_v2_completions_*.csv"))
    items = []
    for sample, file in enumerate(files):
        model = file.stem.removeprefix("xstest_v2_completions_")
        columns = ("id", "prompt", "completion", "annotation_1", "annotation_2", "final_label")
        for line, row in csv_rows(file, columns):
            labels = [_among(row[name], XSTEST_LABELS, file, line, name) for name in columns[3:]]
            answer = {("answer", "refused"): NO if labels[2] == XSTEST_LABELS[0] else YES}
            items.append(_item(f"xstest/{row['id']}", sample, model, row, ("prompt", "completion"), answer, labels[:2]))
    note = f"two annotators, settled; {len(files)} of 5 models present; a partial refusal counts as a refusal"
    return LabelledSet("xstest", "en", "human", items, files, note)


def read_do_not_answer(data_dir: Path | None = None) -> LabelledSet:
    """Do-Not-Answer answers of ChatGPT and Vicuna (Wang et al. 2024, arXiv 2308.13387).

    Actions: 0 not willing, 1 refutes the opinion in the question, 2 both perspectives, 3 disclaimer or "see an expert",
    4 not able or uncertain, 5 follows the instruction. 0 is a refusal and 2, 3 and 5 are none; 1 and 4 can be either
    ("I have no access to that" is what many refusals of private data say), so they have no label for `refused`.

    Raises:
        DataError: the files are missing or malformed.
    """
    items, files = [], []
    for sample, model in enumerate(("ChatGPT", "vicuna-7b")):
        name = f"human_labels/annotated_response_{model}.csv"
        file = find_data("do_not_answer", name, "github.com/Libr-AI/do-not-answer", data_dir)
        files.append(file)
        for line, row in csv_rows(file, ("id", "question", "response", "harmful", "action")):
            harmful = _among(row["harmful"], ("0", "1"), file, line, "harmful")
            action = _among(row["action"], tuple("012345"), file, line, "action")
            answer: dict[Asked, str] = {("answer", "harmful"): YES if harmful == "1" else NO}
            if action not in "14":
                answer["answer", "refused"] = YES if action == "0" else NO
            items.append(_item(f"do-not-answer/{row['id']}", sample, model, row, ("question", "response"), answer))
    note = "refused = action 0; actions 1 (refutes) and 4 (not able) have no label for `refused`; few harmful answers"
    return LabelledSet("do-not-answer", "en", "human", items, files, note)


def read_jade(data_dir: Path | None = None) -> LabelledSet:
    """JADE v3 hard (Zhang, Pan and Yang 2023, arXiv 2311.00286): per prompt an unsafe and a safe, useful answer.

    The file is GB18030. `human` here means the benchmark's authors, who made the pairs; nobody labelled the answers
    afterwards.

    Raises:
        DataError: the file is missing or malformed.
    """
    file = find_data("jade", "jade_alignment_hard_zh.csv", "github.com/whitzard-ai/jade-db", data_dir)
    items = []
    for _, row in csv_rows(file, ("ID", "问题", "违规回答", "安全有用回答"), "gb18030"):
        for sample, (column, answer) in enumerate((("违规回答", YES), ("安全有用回答", NO))):
            labels: dict[Asked, str] = {("answer", "harmful"): answer}
            items.append(_item(f"jade/{row['ID']}", sample, "jade", row, ("问题", column), labels, lang="zh"))
    note = "label by the benchmark's authors, as the answer was made: unsafe or safe; not annotated afterwards"
    return LabelledSet("jade", "zh", "human", items, [file], note)


class ZhRow(Record):
    """One row of `data/banks/zh_judge.jsonl`; its datasheet tells how it was made."""

    id: Name
    category: Text
    prompt: Text
    thought: Text | None
    answer: Text
    thought_label: Text
    answer_label: Text
    hard: Text
    second_thought_label: Text
    second_answer_label: Text
    second_confidence: Text


def read_zh_judge(data_dir: Path | None = None) -> LabelledSet:
    """Our own Chinese responses, written and labelled by models. For calibration only: never train or tune on it.

    Raises:
        DataError: a label outside the closed sets.
    """
    file = zh_judge_file()
    items = []
    for line, row in enumerate(read_jsonl(file, ZhRow), start=1):
        thought = _among(row.thought_label, THOUGHT_LABELS, file, line, "thought_label")
        answer = _among(row.answer_label, ANSWER_LABELS, file, line, "answer_label")
        labels = {**answers_of("thought", thought), **answers_of("answer", answer)}
        prompt, completion = prompt_and_completion(
            f"zh-judge/{row.id}", 0, "zh-judge", row.prompt, row.answer, "zh", row.thought
        )
        items.append(Labelled(prompt, completion, labels, (row.second_thought_label, row.second_answer_label)))
    note = "written and labelled by language models: agreement with it is never agreement with people"
    return LabelledSet("zh-judge", "zh", "model", items, [file], note)


def zh_judge_file() -> Path:
    """Where the packaged bank lies."""
    return Path(str(resources.files("safekeel"))) / "data" / "banks" / "zh_judge.jsonl"


SOURCES: dict[str, Callable[[Path | None], LabelledSet]] = {
    "xstest": read_xstest,
    "do-not-answer": read_do_not_answer,
    "jade": read_jade,
    "zh-judge": read_zh_judge,
}


def _item(
    prompt_id: str,
    sample: int,
    model: str,
    row: Mapping[str, str],
    texts: tuple[str, str],
    labels: Mapping[Any, str],
    raters: Sequence[str] = (),
    lang: Lang = "en",
) -> Labelled:
    prompt, completion = prompt_and_completion(prompt_id, sample, model, row[texts[0]], row[texts[1]], lang, None)
    return Labelled(prompt, completion, labels, tuple(raters))


def prompt_and_completion(
    prompt_id: str, sample: int, model: str, question: str, answer: str, lang: Lang, thought: str | None
) -> tuple[Prompt, Completion]:
    """A prompt and a finished completion to it, as label sources have them."""
    prompt = Prompt(
        id=prompt_id,
        messages=(Message(role="user", content=question),),
        lang=lang,
        risk=None,
        expect="either",
        target=None,
        source=prompt_id.split("/")[0],
        licence="see the source's datasheet",
    )
    completion = Completion(
        prompt_id=prompt_id,
        sample=sample,
        model=model,
        raw=answer if thought is None else f"<think>\n{thought}\n</think>\n\n{answer}",
        thought=thought,
        answer=answer.strip(),
        split="none" if thought is None else "closed",
        finish="stop",
        num_prompt_tokens=0,
        num_completion_tokens=0,
        seconds=0,
    )
    return prompt, completion


def csv_rows(file: Path, columns: Sequence[str], encoding: str = "utf-8-sig") -> list[tuple[int, dict[str, str]]]:
    """(line, row) of a CSV; lines are those at which rows end, as fields hold line breaks."""
    try:
        text = file.read_bytes().decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not {encoding} (byte {error.start}); fetch it again, unchanged.") from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    if missing := [name for name in columns if name not in (reader.fieldnames or [])]:
        found = ", ".join(reader.fieldnames or []) or "none"
        raise DataError(f"{file} has no column {missing[0]!r}; it has: {found}. Fetch the file again.")
    rows = []
    for row in reader:
        if blank := [name for name in columns if row[name] is None]:
            raise DataError(f"{file}:{reader.line_num}: no value for {blank[0]!r}. Fetch the file again.")
        rows.append((reader.line_num, {name: row[name] for name in columns}))
    return rows


def _among(value: str, known: Sequence[str], file: Path, line: int, column: str) -> str:
    if value not in known:
        raise DataError(f"{file}:{line}: {column} is {shown(value)}, expected one of {', '.join(known)}.")
    return value
