"""What every judge is: a name, a version that changes with anything that decides its labels, and a card or none."""

from __future__ import annotations

from typing import Annotated, Protocol

from pydantic import Field

from safekeel.records import CANNOT_JUDGE, Completion, Count, LabelSource, Lang, Name, Part, Prompt, Record, Verdict


class Agreement(Record):
    """How often a judge gives the reference label in one language and part."""

    lang: Lang
    part: Part
    num_items: Count
    num_agreed: Count
    num_unscored: Count
    """Items the judge could not judge; they are neither agreed nor left out of `num_items`."""


class JudgeCard(Record):
    """What is measured about a judge. A judge without one still judges, but its scores are no headline."""

    judge: Name
    judge_version: Name
    """The version measured; a card of another version says nothing."""
    label_source: LabelSource
    """Who made the reference labels. Agreement with model-made labels is never called agreement with people."""
    agreement: Annotated[tuple[Agreement, ...], Field(min_length=1)]


class Judge(Protocol):
    """A judge; `judge` is pure, so verdicts can be recomputed from stored completions at any time."""

    name: str
    version: str
    """Hash of whatever decides a label: prompt, parser, cues, model."""
    label_source: LabelSource | None
    """That of the card, or `construction` for a judge that is right by construction; None otherwise."""
    card: JudgeCard | None

    def judge(self, prompt: Prompt, completion: Completion) -> list[Verdict]:
        """One verdict per part (thought, answer); what cannot be judged is unscored, with the reason, never a side."""
        ...


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
