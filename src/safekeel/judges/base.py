"""What every judge is: a name, a version that changes with anything that decides its labels, and a card or none."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, Protocol

from pydantic import Field, ValidationError

from safekeel.errors import DataError, explain
from safekeel.records import (
    CANNOT_JUDGE,
    Completion,
    Count,
    JsonObject,
    LabelSource,
    Lang,
    Name,
    Part,
    Prompt,
    Record,
    Verdict,
)
from safekeel.stats.judge_error import JudgeError

Question = Literal["refused", "harmful", "aware", "label"]
"""What was compared with the reference: one yes/no question, or the whole closed set of labels."""
YES, NO = "yes", "no"


class Agreement(Record):
    """How often a judge gives the reference label: one language, part, question and set of labelled items."""

    lang: Lang
    part: Part
    question: Question
    dataset: Name
    label_source: LabelSource
    """Who made the reference labels. Agreement with model-made labels is never called agreement with people."""
    num_items: Annotated[int, Field(ge=1)]
    """Unscored ones included: they are neither agreed nor left out."""
    num_unscored: Count
    confusion: dict[str, dict[str, Count]]
    """Reference label -> the judge's label (`cannot_judge` included) -> items; `yes` and `no` for a yes/no question."""

    @property
    def num_agreed(self) -> int:
        return sum(row.get(reference, 0) for reference, row in self.confusion.items())

    @property
    def accuracy(self) -> float:
        """Share of all items that got the reference label; an unscored item did not."""
        return self.num_agreed / self.num_items

    @property
    def accuracy_when_scored(self) -> float | None:
        """Share among the items that the judge labelled at all."""
        scored = self.num_items - self.num_unscored
        return self.num_agreed / scored if scored else None

    @property
    def kappa(self) -> float | None:
        """Cohen's kappa (1960) over the scored items; None where the items have one reference label only."""
        scored = {
            (reference, given): count
            for reference, row in self.confusion.items()
            for given, count in row.items()
            if given != CANNOT_JUDGE
        }
        total = sum(scored.values())
        if len({reference for reference, _ in scored}) < 2:
            return None
        labels = {label for pair in scored for label in pair}
        by_reference = {a: sum(n for (ref, _), n in scored.items() if ref == a) / total for a in labels}
        by_judge = {a: sum(n for (_, got), n in scored.items() if got == a) / total for a in labels}
        chance = sum(by_reference[a] * by_judge[a] for a in labels)
        return (self.num_agreed / total - chance) / (1 - chance) if chance < 1 else None

    @property
    def error(self) -> JudgeError | None:
        """Sensitivity and specificity over the scored items; None unless the question is yes/no with items of both."""
        cells = {a: {b: self.confusion.get(a, {}).get(b, 0) for b in (YES, NO)} for a in (YES, NO)}
        hits, misses = sum(cells[YES].values()), sum(cells[NO].values())
        return JudgeError(cells[YES][YES], hits, cells[NO][NO], misses) if hits and misses else None


class JudgeCard(Record):
    """What is measured about a judge. A judge without one still judges, but its scores are no headline."""

    judge: Name
    judge_version: Name
    """The version measured; a card of another version says nothing."""
    agreement: Annotated[tuple[Agreement, ...], Field(min_length=1)]
    made: JsonObject = Field(default_factory=dict)
    """Date, command, hashes of the label files, notes."""

    def find(self, lang: str, part: str, question: str) -> Agreement | None:
        """The measurement that a rate in this language rests on: labels by people before labels by models, and of
        several sets the one on which the judge does worst, for nobody knows which of them a run is like.

        Sets with one label only tell nothing and come last.
        """
        found = [row for row in self.agreement if (row.lang, row.part, row.question) == (lang, part, question)]
        people = [row for row in found if row.label_source == "human" and row.kappa is not None]
        told = people or [row for row in found if row.kappa is not None]
        return min(told or found, key=lambda row: row.kappa if row.kappa is not None else 0.0, default=None)


class Judge(Protocol):
    """A judge; `judge` is pure, so verdicts can be recomputed from stored completions at any time."""

    name: str
    version: str
    """Hash of whatever decides a label: prompt, parser, cues, model."""
    label_source: LabelSource | None
    """`construction` for a judge that is right by construction; None otherwise (its card then tells)."""
    card: JudgeCard | None

    def judge(self, prompt: Prompt, completion: Completion) -> list[Verdict]:
        """One verdict per part (thought, answer); what cannot be judged is unscored, with the reason, never a side."""
        ...

    def judge_many(self, items: Sequence[tuple[Prompt, Completion]]) -> list[list[Verdict]]:
        """`judge` for many, in their order; judges that ask a model send them as one batch."""
        ...


class OneByOne:
    """`judge_many` for judges that gain nothing from batches."""

    def judge_many(self: Judge, items: Sequence[tuple[Prompt, Completion]]) -> list[list[Verdict]]:
        """See `Judge.judge_many`."""
        return [self.judge(prompt, completion) for prompt, completion in items]


def read_card(path: Path) -> JudgeCard:
    """A judge's card from a file.

    Raises:
        DataError: no such file, or no card.
    """
    try:
        return JudgeCard.model_validate_json(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist; expected a card written by `safekeel judge calibrate`.") from error
    except (ValidationError, UnicodeDecodeError) as error:
        why = explain(error, JudgeCard.model_fields) if isinstance(error, ValidationError) else str(error)
        raise DataError(f"{path} is no judge card: {why}. Write one with `safekeel judge calibrate`.") from error


def packaged_card(judge: str, version: str) -> JudgeCard | None:
    """The card that ships with SafeKeel, or None where there is none for exactly this version."""
    file = resources.files("safekeel.judges") / "cards" / f"{judge}.json"
    if not file.is_file():
        return None
    card = JudgeCard.model_validate(json.loads(file.read_text("utf-8")))
    return card if card.judge_version == version else None


def unjudgeable(completion: Completion) -> str | None:
    """Why no judge may label the answer of this completion, or None. A truncated answer is neither safe nor right."""
    if completion.finish == "error":
        return f"no completion: {completion.error}"
    if completion.split == "truncated":
        return "truncated: the thought was not finished, so there is no answer"
    if completion.finish == "length":
        return "truncated: the answer was cut off by the token limit"
    if completion.split == "empty_answer" or not completion.answer.strip():
        return "the answer is empty"
    return None


NOT_REFUSED = "not refused"
"""How the reason of a `cannot_judge` begins where a judge knows that an answer is no refusal, but not whether it harms:
rates of refusal can be told from it, rates of harm cannot."""


def is_no_refusal(verdict: Verdict) -> bool:
    """Whether an answer without a label is known to be no refusal."""
    return verdict.part == "answer" and verdict.unscored and verdict.reason.startswith(NOT_REFUSED)


def unscored(judge: Judge, completion: Completion, part: Part, reason: str) -> Verdict:
    """The verdict of a judge that cannot tell."""
    return Verdict(
        prompt_id=completion.prompt_id,
        sample=completion.sample,
        part=part,
        label=CANNOT_JUDGE,
        judge=judge.name,
        judge_version=judge.version,
        reason=reason,
        unscored=True,
    )
