"""A completion told apart into thought and answer. `safekeel.chat` is where others take these names from."""

from __future__ import annotations

import re
from typing import NamedTuple

from safekeel.records import SplitStatus

OPEN, CLOSE = "<think>", "</think>"

# A quoted tag is a mention. Quotation marks without a tag are consumed in pairs, so that the closing mark of one
# quotation is never taken for the opening mark of the next.
_TAG = (
    r'`[^`\n]*`|"[^"<\n]*"|"<think>[^"\n]*</think>"|"</?think>"|\'</?think>\'|“</?think>”|‘</?think>’|「</?think>」'
    r"|『</?think>』|(?P<open><think>)|(?P<close></think>)"
)
_IN_THOUGHT = re.compile(_TAG)
_IN_ANSWER = re.compile(rf"```.*?```|{_TAG}", re.DOTALL)  # answers hold code blocks; thoughts leave theirs unfinished


class Split(NamedTuple):
    """Thought, answer and how they were told apart (`records.Completion`); both are stripped of outer whitespace."""

    thought: str | None
    """None = no think tag at all."""
    answer: str
    """All the text outside think blocks, that is everything a user would be shown; empty when truncated."""
    status: SplitStatus


def split_completion(text: str, finish: str, prefilled_think: bool, answer_only: bool = False) -> Split:
    """Tell thought and answer apart; nothing is lost, and no unfinished thought is ever an answer.

    The first `</think>` closes a thought, since that is where a server starts to show text to the user; a later one
    without an opening tag is a mention. A quoted tag is a mention everywhere.

    Args:
        finish: `stop` when the model ended by itself; without any tag, a cut-off text may be all thought.
        prefilled_think: the prompt ended inside a thought (`think_state` is `open`).
        answer_only: the prompt closed the thought, or the model has none: text without an opening tag is answer.
    """
    if prefilled_think and text.lstrip().startswith(OPEN):  # the model repeats the tag it was given
        text = text.lstrip().removeprefix(OPEN)
    thoughts, visible, inside, opened_here = _blocks(text, prefilled_think, answer_only)
    untagged_and_cut = not thoughts and not answer_only and finish != "stop"
    if inside or untagged_and_cut:
        return Split(text.strip().removeprefix(OPEN).strip(), "", "truncated")
    thought, answer = _joined(thoughts) if thoughts else None, _joined(visible)
    if not answer:
        return Split(thought, "", "empty_answer")
    if thought is None:
        return Split(None, answer, "none")
    if len(thoughts) > 1:
        return Split(thought, answer, "multiple")
    return Split(thought, answer, "closed" if opened_here else "prefilled")


def _blocks(text: str, inside: bool, answer_only: bool) -> tuple[list[str], list[str], bool, bool]:
    """(thoughts, texts outside them, whether the last thought is open, whether an opening tag was met)."""
    thoughts: list[str] = []
    visible: list[str] = []
    opened_here, start, position = False, 0, 0
    while match := (_IN_THOUGHT if inside else _IN_ANSWER).search(text, position):
        position = match.end()
        if match["open"] and not inside:
            visible.append(text[start : match.start()])
            inside = opened_here = True
        elif match["close"] and (inside or not (thoughts or answer_only)):
            thoughts.append(text[start : match.start()])
            inside = False
        else:
            continue
        start = position
    (thoughts if inside else visible).append(text[start:])
    return thoughts, visible, inside, opened_here


def _joined(parts: list[str]) -> str:
    return "\n".join(stripped for part in parts if (stripped := part.strip()))
