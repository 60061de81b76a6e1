"""Between lm-eval's contexts and our messages, and between our completions and the text that lm-eval may grade."""

from __future__ import annotations

import json
from collections.abc import Sequence

from safekeel.judges.base import unjudgeable
from safekeel.records import Completion, Message

NO_ANSWER = ""
"""What lm-eval is given where there is no answer; no gold target is empty, so it is never right."""


def messages_of(context: str) -> tuple[Message, ...]:
    """The messages of a context made with `lmeval.chat_json`; any other context is one user message."""
    try:
        turns = json.loads(context)
        return tuple(Message(**turn) for turn in turns)
    except (ValueError, TypeError):  # plain text, or JSON that is itself the question
        return (Message(role="user", content=context),)


def gradable_text(completion: Completion, until: Sequence[str] = ()) -> str:
    """The answer part up to the first stop string; `NO_ANSWER` where the thought or the answer was cut off or failed.

    Stop strings end answers only. A server given them would stop inside a thought that quotes the question.
    """
    if unjudgeable(completion) is not None:
        return NO_ANSWER
    answer = completion.answer
    for stop in until:
        if stop:
            answer = answer.split(stop, 1)[0]
    return answer
