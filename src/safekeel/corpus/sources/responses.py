"""Thought and answer of a response that a source already has."""

from __future__ import annotations

from safekeel.chat import split_completion

SOURCE_STYLE = "source"
"""`Sample.style` of a response that came with its row."""


class UnfinishedThought(ValueError):
    """A response opens a thought and never closes it."""


def split_response(text: str, thought: str = "") -> tuple[str, str]:
    """(thought, answer) of a response; a thought column wins over think tags, which are then taken out of the answer.

    Raises:
        UnfinishedThought: as it says.
    """
    if not text.strip():
        return thought.strip(), ""
    split = split_completion(text, "stop", prefilled_think=False)
    if split.status == "truncated":
        raise UnfinishedThought("the response opens <think> and never closes it")
    return thought.strip() or split.thought or "", split.answer
