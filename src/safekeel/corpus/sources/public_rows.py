"""One row of each public set as a sample. Schemas: the files themselves, or the data card where they were out of reach.

TC260 categories are given only where the standard names the same thing: a wrong one would be spoken in a thought.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from safekeel.corpus.sample import Role, Sample
from safekeel.corpus.sources.raw import RawRow
from safekeel.corpus.sources.responses import SOURCE_STYLE, UnfinishedThought, split_response
from safekeel.data.registry import DataSet
from safekeel.errors import shown
from safekeel.records import Expect, Lang, Message, Prompt

LETTERS = ("A", "B", "C", "D")
CHOOSE: dict[Lang, str] = {"zh": "请回答正确选项的字母。", "en": "Answer with the letter of the right option."}
"""Not the wording of any benchmark, so that no comparison of texts takes it for one."""
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_ILLICIT = "Illicit / Criminal Behavior"
STAR1_RISKS: dict[str, str | None] = {
    _ILLICIT: "A.1.h",  # crime that the standard names nowhere else
    "Privacy / Personal Data": "A.4.f",
    "Intellectual Property": "A.3.a",
    "Misinformation / Disinformation": "A.1.g",
    "Self-Harm": "A.4.a",
    "Sexual / Adult": "A.1.f",
    "Violence / Physical Harm": "A.1.f",
    "Harassment / Hate / Discrimination": None,  # nine categories of A.2 and A.4.c; the row does not tell which
}
"""STAR-1's eight categories (all that its 1,000 rows have) -> TC260, as `bench/safety/categories.toml` maps the same
subjects where it calls the fit clear."""


class UnexpectedRow(ValueError):
    """A row without what the schema promises."""


@dataclass(frozen=True)
class Place:
    """Where a row of a set stands: file, and number in it from 0."""

    data_set: DataSet
    file: str = ""
    number: int = 0

    def at(self, file: str, number: int) -> Place:
        return replace(self, file=file, number=number)

    def sample(
        self,
        key: str,
        role: Role,
        text: str,
        where: str,
        *,
        lang: Lang,
        risk: str | None = None,
        expect: Expect | None = None,
        target: str | None = None,
        response: str = "",
        thought: str = "",
        **meta: Any,
    ) -> Sample:
        """A sample of this set; the response is split at its think tags.

        Raises:
            UnexpectedRow: a response whose thought never ends.
        """
        identifier = f"{self.data_set.name}/{key}"
        try:
            thought, answer = split_response(response, thought)
        except UnfinishedThought as error:
            raise UnexpectedRow(str(error)) from error
        prompt = Prompt(
            id=identifier,
            messages=(Message(role="user", content=text),),
            lang=lang,
            risk=risk,
            expect=expect or ("refuse" if role == "risky" else "answer"),
            target=target,
            source=f"{self.data_set.title} ({self.data_set.citation})",
            licence=self.data_set.licence,
            meta={"where": where, "cluster": identifier, **meta},
        )
        made_by, style = (self.data_set.name, SOURCE_STYLE) if answer else ("", "")
        return Sample(
            id=identifier, role=role, prompt=prompt, thought=thought, answer=answer, made_by=made_by, style=style
        )


def star1(row: RawRow, place: Place) -> Sample:
    """{id, question, response with <think>, category: [..], source, score}."""
    subjects = [str(name) for name in row.values.get("category") or []]
    return place.sample(
        _text(row, "id"),
        "risky",
        _text(row, "question"),
        row.where,
        lang="en",
        risk=star1_risk(subjects),
        response=_text(row, "response"),
        subject=subjects,
        upstream=row.values.get("source"),
    )


def star1_risk(subjects: list[str]) -> str | None:
    """The TC260 category of a row: that of its first subject besides crime, which goes with most of the others."""
    specific = [name for name in subjects if name != _ILLICIT]
    if specific:
        return STAR1_RISKS.get(specific[0])
    return STAR1_RISKS[_ILLICIT] if subjects else None


def star1_benign(row: RawRow, place: Place) -> Sample:
    """{id, question, response with <think>, …}: harmless requests that look like those of STAR-1 (documented)."""
    key = str(row.values.get("id", place.number))
    question, response = _text(row, "question"), _text(row, "response")
    return place.sample(key, "counter", question, row.where, lang="en", response=response)


def alpaca(row: RawRow, place: Place) -> Sample:
    """{instruction, input, output}; the language is in the file's name."""
    lang: Lang = "zh" if "_zh_" in place.file else "en"
    extra = str(row.values.get("input") or "").strip()
    text = _text(row, "instruction") + (f"\n\n{extra}" if extra else "")
    response = _text(row, "output")
    return place.sample(f"{lang}/{place.number}", "general", text, row.where, lang=lang, response=response)


def zh_r1_distill(row: RawRow, place: Place) -> Sample:
    """{input, reasoning_content, content, repo_name, score, …} (data card)."""
    return place.sample(
        str(place.number),
        "general",
        _text(row, "input"),
        row.where,
        lang="zh",
        thought=_text(row, "reasoning_content"),
        response=_text(row, "content"),
        subject=row.values.get("repo_name"),
        score=row.values.get("score"),
    )


def gsm8k(row: RawRow, place: Place) -> Sample:
    """{question, answer}: the target behind `####`, without thousands separators. The solution itself is left out: the
    model writes its own, which is kept when it is right."""
    _, mark, gold = _text(row, "answer").rpartition("####")
    target = gold.strip().replace(",", "").removeprefix("$")
    if not mark or not _NUMBER.fullmatch(target):
        raise UnexpectedRow(f"the answer ends in {shown(gold.strip())}, expected #### and a number")
    question = _text(row, "question")
    return place.sample(
        f"train/{place.number}", "replay", question, row.where, lang="en", expect="solve", target=target
    )


def ceval(row: RawRow, place: Place) -> Sample:
    """id, question, A, B, C, D, answer, explanation."""
    return _choice(row, place, "zh", "question", LETTERS, "answer", "_dev")


def cmmlu(row: RawRow, place: Place) -> Sample:
    """(no name), Question, A, B, C, D, Answer."""
    return _choice(row, place, "zh", "Question", LETTERS, "Answer", "")


def mmlu(row: RawRow, place: Place) -> Sample:
    """Six columns without a header: question, four options, answer."""
    return _choice(row, place, "en", "1", ("2", "3", "4", "5"), "6", "_dev")


def _choice(
    row: RawRow, place: Place, lang: Lang, question: str, options: tuple[str, ...], answer: str, suffix: str
) -> Sample:
    target = _text(row, answer)
    if target not in LETTERS:
        raise UnexpectedRow(f"the answer is {shown(target)}, expected A, B, C or D")
    subject = PurePosixPath(place.file).stem.removesuffix(suffix)
    texts = {letter: _text(row, column) for letter, column in zip(LETTERS, options, strict=True)}
    asked = _text(row, question)
    lines = [asked, *(f"{letter}. {text}" for letter, text in texts.items()), CHOOSE[lang]]
    return place.sample(
        f"dev/{subject}/{place.number}",
        "replay",
        "\n".join(lines),
        row.where,
        lang=lang,
        expect="choose",
        target=target,
        subject=subject,
        options=texts,
        question=asked,
    )


def _text(row: RawRow, column: str) -> str:
    value = row.values.get(column)
    if value is None or isinstance(value, dict | list) or not str(value).strip():
        raise UnexpectedRow(f"{column!r} is missing or empty, expected text")
    return str(value).strip()
