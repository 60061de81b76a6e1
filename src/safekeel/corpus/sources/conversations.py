"""Conversations as files hold them: OpenAI's role and content, ShareGPT's from and value, alpaca's history."""

from __future__ import annotations

import json
from typing import Any, Literal

from safekeel.errors import shown
from safekeel.records import Message

MessageRole = Literal["system", "user", "assistant"]
ROLE_OF: dict[str, MessageRole] = {
    "system": "system",
    "user": "user",
    "human": "user",
    "用户": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "chatgpt": "assistant",
    "助手": "assistant",
}


class BrokenConversation(ValueError):
    """What a row has is no conversation; `reason` is for `Rejected`."""

    def __init__(self, reason: str, evidence: str) -> None:
        super().__init__(evidence)
        self.reason = reason


def read_conversation(value: Any) -> tuple[list[Message], str]:
    """The turns up to the last one of the user, and the assistant's reply to it ("" where there is none).

    Raises:
        BrokenConversation: no list of turns, an unknown role, a turn that is no text, or no turn of the user.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise BrokenConversation("broken_conversation", "text that is no JSON, expected a list of turns") from error
    if not isinstance(value, list) or not value:
        raise BrokenConversation("broken_conversation", f"a {type(value).__name__}, expected a list of turns")
    turns = [_turn(entry, number) for number, entry in enumerate(value, 1)]
    reply = turns.pop().content if turns[-1].role == "assistant" else ""
    if not turns or turns[-1].role != "user":
        raise BrokenConversation("no_user_turn", "no turn of the user before the last reply")
    return turns, reply


def read_history(value: Any) -> list[Message]:
    """Earlier rounds as [[user, assistant], …].

    Raises:
        BrokenConversation: another structure.
    """
    turns: list[Message] = []
    for number, entry in enumerate(value if isinstance(value, list) else [value], 1):
        if not (isinstance(entry, list) and len(entry) == 2 and all(isinstance(text, str) for text in entry)):
            raise BrokenConversation("broken_history", f"round {number} is no pair of texts [user, assistant]")
        turns += [Message(role="user", content=entry[0]), Message(role="assistant", content=entry[1])]
    return turns


def _turn(entry: Any, number: int) -> Message:
    if not isinstance(entry, dict):
        raise BrokenConversation(
            "broken_conversation", f"turn {number} is a {type(entry).__name__}, expected an object"
        )
    role = entry.get("role", entry.get("from"))
    content = entry.get("content", entry.get("value"))
    if not isinstance(role, str) or role.lower() not in ROLE_OF:
        evidence = f"turn {number} is by {shown(role)}, expected one of {', '.join(ROLE_OF)}"
        raise BrokenConversation("unknown_turn_role", evidence)
    return Message(role=ROLE_OF[role.lower()], content=_text(content, number))


def _text(content: Any, number: int) -> str:
    if isinstance(content, list):  # OpenAI's parts
        parts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        content = "\n".join(map(str, parts)) if len(parts) == len(content) else None
    if not isinstance(content, str) or not content.strip():
        raise BrokenConversation("turn_without_text", f"turn {number} has no text")
    return content
