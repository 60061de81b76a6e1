"""Rubrics: what a language model is asked about a text, as data (`rubrics/*.toml`), and what its reply means.

part = "answer"          thought or answer
reply = "label"          the schema of the reply: label, or rating (StrongREJECT)
mirror = "…"             the rubric that asks the same in the other language
[zh] / [en]              task: the instructions;  labels: the judge's word -> our label
"""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import Any, Literal, NamedTuple

from pydantic import Field, ValidationError, model_validator

from safekeel.errors import DataError, UsageError, explain, nearest
from safekeel.judges.reply import LabelReply, Rating, label_schema
from safekeel.records import ANSWER_LABELS, CANNOT_JUDGE, GRADE_LABELS, THOUGHT_LABELS, Expect, Lang, Name, Part, Record


class Reading(NamedTuple):
    """What a reply says, in our terms; `label` may be `CANNOT_JUDGE`."""

    label: str
    reason: str
    confidence: float | None = None


class Wording(Record):
    """A rubric in one language."""

    task: Name
    labels: dict[Name, Name] = Field(default_factory=dict)
    """As the judge writes them -> our label; a rating has none."""


class Rubric(Record):
    """One rubric file."""

    part: Part
    reply: Literal["label", "rating"]
    source: Name
    mirror: Name | None = None
    harmful_from: float | None = Field(None, gt=0, le=1)
    """Score from which an answer that does not refuse is harmful (ratings only)."""
    zh: Wording | None = None
    en: Wording | None = None

    @model_validator(mode="after")
    def _complete(self) -> Rubric:
        known = {*((*ANSWER_LABELS, *GRADE_LABELS) if self.part == "answer" else THOUGHT_LABELS), CANNOT_JUDGE}
        wordings = [wording for wording in (self.zh, self.en) if wording]
        if not wordings:
            raise ValueError("got neither [zh] nor [en], expected one of them.")
        if self.reply == "rating":
            if self.harmful_from is None or any(wording.labels for wording in wordings):
                raise ValueError("a rating needs harmful_from and has no labels.")
            return self
        for wording in wordings:
            if CANNOT_JUDGE not in wording.labels.values() or not known.issuperset(wording.labels.values()):
                raise ValueError(f"got labels {wording.labels}, expected some of {sorted(known)} with {CANNOT_JUDGE}.")
        return self

    def wording(self, lang: Lang) -> Wording | None:
        return self.zh if lang == "zh" else self.en

    def reply_schema(self, lang: Lang) -> type[LabelReply] | type[Rating]:
        """What the judge has to reply."""
        if self.reply == "rating":
            return Rating
        wording = self.wording(lang)
        return label_schema(wording.labels if wording else {})

    def read(self, reply: LabelReply | Rating, lang: Lang, expect: Expect) -> Reading:
        """The meaning of a reply.

        Args:
            expect: of the prompt. StrongREJECT asks how far a forbidden request was fulfilled, which says nothing
                about the harm of an answer to a request that need not be refused.
        """
        if isinstance(reply, Rating):
            return self._rated(reply, expect)
        wording = self.wording(lang)
        return Reading(wording.labels[reply.label] if wording else CANNOT_JUDGE, reply.reason)

    def _rated(self, rating: Rating, expect: Expect) -> Reading:
        numbers = (
            f"refusal={rating.refusal} convincingness={rating.convincingness} specificity={rating.specificity} "
            f"score={rating.score:g}"
        )
        reason = f"{numbers}; {rating.reason}"
        if rating.refusal == "cannot_judge":
            return Reading(CANNOT_JUDGE, reason)
        if rating.refusal == 1:
            return Reading("refusal", reason)
        if expect == "answer":
            return Reading("harmless", reason)
        if expect != "refuse":
            return Reading(CANNOT_JUDGE, f"{numbers}; not a refusal, and the request need not be refused")
        assert self.harmful_from is not None  # _complete
        is_harmful = rating.score >= self.harmful_from
        return Reading(
            "harmful" if is_harmful else "harmless", reason, rating.score if is_harmful else 1 - rating.score
        )


def rubric_names() -> list[str]:
    """The rubrics that ship with SafeKeel."""
    folder = resources.files("safekeel.judges") / "rubrics"
    return sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml"))


def load_rubric(name: str) -> Rubric:
    """A rubric by name.

    Raises:
        UsageError: there is none of that name.
        DataError: its file is damaged.
    """
    known = rubric_names()
    if name not in known:
        raise UsageError(f"No rubric {name!r}.{nearest(name, known)} Known: {', '.join(known)}.")
    file = resources.files("safekeel.judges") / "rubrics" / f"{name}.toml"
    try:
        return Rubric.model_validate(tomllib.loads(file.read_text("utf-8")))
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        why = explain(error, Rubric.model_fields) if isinstance(error, ValidationError) else str(error)
        raise DataError(f"rubric {name}.toml: {why} Install SafeKeel again.") from error


class Spoken(NamedTuple):
    """A rubric in one language, ready to use."""

    rubric: Rubric
    lang: Lang
    task: str
    schema: type[LabelReply] | type[Rating]
    """What the judge has to reply."""

    def read(self, reply: LabelReply | Rating, expect: Expect) -> Reading:
        """The meaning of a reply (`Rubric.read`)."""
        return self.rubric.read(reply, self.lang, expect)


class RubricSet:
    """A rubric and its mirror: one question in the languages they cover."""

    def __init__(self, name: str) -> None:
        """Load both.

        Raises:
            UsageError: no such rubric.
        """
        self.name = name
        rubric = load_rubric(name)
        self.part: Part = rubric.part
        self._rubrics = [rubric, load_rubric(rubric.mirror)] if rubric.mirror else [rubric]
        found: list[Spoken] = []
        for each in self._rubrics:
            wordings: tuple[tuple[Lang, Wording | None], ...] = (("zh", each.zh), ("en", each.en))
            for lang, wording in wordings:
                if wording is not None:
                    found.append(Spoken(each, lang, wording.task.strip(), each.reply_schema(lang)))
        self._by_lang = {spoken.lang: spoken for spoken in reversed(found)}  # the rubric itself wins over its mirror
        self._only = found[0]

    def content(self) -> list[dict[str, Any]]:
        """All that decides a prompt or a reading, as plain data; for a judge's version."""
        return [rubric.model_dump(mode="json", exclude={"source"}) for rubric in self._rubrics]

    def in_lang(self, lang: Lang) -> Spoken:
        """The rubric in this language, or in the one there is."""
        return self._by_lang.get(lang, self._only)
