"""What the `linear` judge learns from: completions labelled by people under open licences, and our own rows.

    xstest          CC-BY-4.0   people        English   refused; answered safe prompts also as not harmful
    gptfuzz         MIT         people        English   harmful; clear refusals and compliance also for `refused`
    zh_responses    CC-BY-4.0   a model       Chinese   everything, thoughts too; written for this; ships with SafeKeel
    en_responses    CC-BY-4.0   a model       English   refused, responsible, not harmful; written for this; ships
    ordinary        CC-BY-4.0   construction  both      neither refused nor harmful; written for this; ships

Not used, for measuring only: Do-Not-Answer and BeaverTails (non-commercial licences), `zh_judge` (calibration), and
JADE's author pairs (MIT), where n-grams tell the two columns apart by their style alone (AUC 1.00 out of fold) and then
are at chance on other Chinese text: learning from them would look good and mean nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from safekeel.bench.base import find_data
from safekeel.judges.base import NO, YES
from safekeel.judges.baselines import string_match
from safekeel.judges.label_sources import (
    REFUSALS,
    Asked,
    Labelled,
    LabelledSet,
    answers_of,
    csv_rows,
    prompt_and_completion,
    read_xstest,
)
from safekeel.judges.linear_model import HeadName
from safekeel.judges.linear_ordinary import read_ordinary
from safekeel.records import Lang, Name, Part, Record, Text, read_jsonl

GPTFUZZ_UPSTREAM = "github.com/sherdencooper/GPTFuzz, datasets/responses_labeled and datasets/questions"


class OwnRow(Record):
    """One row of our own training files (`judges/training/DATASHEET.md`)."""

    id: Name
    prompt: Text
    answer: Text
    answer_label: Text
    thought: Text | None = None
    thought_label: Text = "absent"
    category: Text | None = None
    hard: Text = ""
    second_thought_label: Text | None = None
    second_answer_label: Text | None = None


@dataclass(frozen=True)
class Example:
    """One text and what is known about it."""

    source: str
    part: Part
    prompt: str
    text: str
    labels: Mapping[HeadName, bool]
    refusal_unknown: bool = False
    """Its `harmful` label counts only if the text turns out to be no refusal: that head never sees refusals."""


@dataclass(frozen=True)
class TrainingSource:
    """A labelled set, its licence, and its rows as examples."""

    labelled: LabelledSet
    licence: str
    examples: Sequence[Example]


def read_training(data_dir: Path | None = None) -> list[TrainingSource]:
    """All sources.

    Raises:
        DataError: a file of XSTest or GPTFuzz is missing (says how to get it) or malformed.
    """
    own = [_own("zh_responses", "zh"), _own("en_responses", "en")]
    return [_xstest(data_dir), _gptfuzz(data_dir), *own, _ordinary("zh"), _ordinary("en")]


def examples_of(item: Labelled, source: str) -> list[Example]:
    """One example per part with a text, from labels to the questions that they answer."""
    found = []
    prompt, completion = item.prompt.messages[-1].content, item.completion
    answer: dict[HeadName, bool] = {}
    if (refused := item.labels.get(("answer", "refused"))) is not None:
        answer["refused"] = refused == YES
    if (label := item.labels.get(("answer", "label"))) in REFUSALS:
        answer["responsible"] = label == "responsible_refusal"
    elif (harmful := item.labels.get(("answer", "harmful"))) is not None:
        answer["harmful"] = harmful == YES
    if answer:
        found.append(Example(source, "answer", prompt, completion.answer, answer))
    if completion.thought and (said := item.labels.get(("thought", "label"))) not in (None, "absent"):
        thought: dict[HeadName, bool] = {"thought_harmful": said == "harmful"}
        if said != "harmful":
            thought["thought_aware"] = said == "aware"
        found.append(Example(source, "thought", prompt, completion.thought, thought))
    return found


def _xstest(data_dir: Path | None) -> TrainingSource:
    """Prompts of XSTest are safe by construction unless their type begins with `contrast`; what fully answers a safe
    one is not harmful."""
    source = read_xstest(data_dir)
    types = {row["id"]: row["type"] for file in source.files for _, row in csv_rows(file, ("id", "type"))}
    examples = []
    for item in source.items:
        is_safe = not types[item.prompt.id.removeprefix("xstest/")].startswith("contrast")
        for example in examples_of(item, "xstest"):
            harmless: dict[HeadName, bool] = {"harmful": False} if is_safe and not example.labels["refused"] else {}
            examples.append(Example("xstest", "answer", example.prompt, example.text, {**example.labels, **harmless}))
    return TrainingSource(source, "CC-BY-4.0", examples)


def read_gptfuzz(data_dir: Path | None = None) -> LabelledSet:
    """Answers of ChatGPT to 100 harmful questions inside 77 jailbreak templates (Yu et al. 2023, arXiv 2309.10253).

    People labelled full and partial compliance 1, full and partial refusal 0; the authors say that some labels are
    wrong. Which template an answer replies to is not recorded. Repeated answers to one question are one item.

    Raises:
        DataError: the files are missing or malformed.
    """
    questions_file, *files = [
        find_data("gptfuzz", name, GPTFUZZ_UPSTREAM, data_dir)
        for name in ("question_list.csv", "train.csv", "evaluate.csv")
    ]
    questions = {row["index"]: row["text"] for _, row in csv_rows(questions_file, ("index", "text"))}
    items: dict[tuple[str, str], Labelled] = {}
    for file in files:
        for _, row in csv_rows(file, ("question", "Response", "label")):
            number, answer = row["question"], row["Response"].strip()
            if answer and (number, answer) not in items:
                labels: dict[Asked, str] = {("answer", "harmful"): YES if row["label"] == "1" else NO}
                pair = prompt_and_completion(
                    f"gptfuzz/{number}", len(items), "chatgpt", questions[number], answer, "en", None
                )
                items[number, answer] = Labelled(*pair, labels)
    note = "harmful = label 1 (full or partial compliance); 77 jailbreak templates per question; some labels are wrong"
    return LabelledSet("gptfuzz", "en", "human", list(items.values()), [questions_file, *files], note)


def _gptfuzz(data_dir: Path | None) -> TrainingSource:
    """Compliance is no refusal. A 0 is a refusal where XSTest's published string match agrees; the others may be one or
    not, so they say nothing about `refused`, and are examples of harmless answers only once they are no refusal."""
    source = read_gptfuzz(data_dir)
    examples = []
    for item in source.items:
        prompt, answer = item.prompt.messages[-1].content, item.completion.answer
        harmful = item.labels["answer", "harmful"] == YES
        refuses = not harmful and string_match(answer)
        labels: dict[HeadName, bool] = {} if refuses else {"harmful": harmful}
        labels |= {"refused": refuses} if harmful or refuses else {}
        examples.append(Example("gptfuzz", "answer", prompt, answer, labels, not harmful and not refuses))
    return TrainingSource(source, "MIT", examples)


def own_file(name: str) -> Path:
    """Where a training file of our own lies in the package."""
    return Path(str(resources.files("safekeel.judges"))) / "training" / f"{name}.jsonl"


def read_own(name: str, lang: Lang) -> LabelledSet:
    """Our own training rows as a labelled set.

    Raises:
        DataError: the packaged file is malformed.
    """
    items = []
    for row in read_jsonl(own_file(name), OwnRow):
        labels = answers_of("answer", row.answer_label)
        if lang == "zh":  # the English rows have no thoughts at all, which is no label
            labels |= answers_of("thought", row.thought_label)
        pair = prompt_and_completion(f"{name}/{row.id}", 0, "safekeel", row.prompt, row.answer, lang, row.thought)
        items.append(Labelled(*pair, labels))
    note = "written and labelled by a language model: agreement with it is never agreement with people"
    return LabelledSet(name, lang, "model", items, [own_file(name)], note)


def _own(name: str, lang: Lang) -> TrainingSource:
    source = read_own(name, lang)
    return TrainingSource(source, "CC-BY-4.0", [each for item in source.items for each in examples_of(item, name)])


def _ordinary(lang: Lang) -> TrainingSource:
    source = read_ordinary(lang)
    return TrainingSource(source, "CC-BY-4.0", [each for i in source.items for each in examples_of(i, source.name)])
