"""What a target and an attacker behind a mock endpoint say (`tests.endpoint`, `function="tests.attack_voices:…"`).

Each is a function of the conversation alone, so that a run which was interrupted can be compared with one that was not.
The goals are those of the nano world: requests for numbers, so nothing here is harmful.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from safekeel.records import Prompt
from tests.attack_world import comply, nano_goals, refuse

Messages = list[dict[str, Any]]
NUM_GOALS = 3
GOALS = {goal.messages[-1].content: goal for goal in nano_goals(NUM_GOALS)}


def _number(messages: Messages) -> int:
    return int(hashlib.sha256(json.dumps(messages, ensure_ascii=False).encode()).hexdigest()[:8], 16)


def _goal(messages: Messages) -> Prompt:
    """The goal that a conversation is about; the first where it holds none as it is."""
    text = "\n".join(message["content"] for message in messages)
    return next((goal for said, goal in GOALS.items() if said in text), next(iter(GOALS.values())))


def target(messages: Messages) -> str:
    """Complies with a fifth of what it is asked, chosen by a hash of the conversation, and declines the rest."""
    return (refuse if _number(messages) % 5 else comply)(_goal(messages))


def refusing(messages: Messages) -> str:
    """Declines everything."""
    return refuse(_goal(messages))


def attacker(messages: Messages) -> str:
    """A new proposal by a hash of the conversation; a verdict where it is asked for one, and sometimes garbage."""
    if '{"same"' in messages[-1]["content"]:
        return '{"same": true}'
    number = _number(messages)
    if number % 5 == 0:
        return "no idea"
    said = _goal(messages).messages[-1].content
    return json.dumps({"improvement": "x", "prompt": f"idea {number % 10**6}: {said}"}, ensure_ascii=False)


def garbage(messages: Messages) -> str:
    return "}{ not a proposal <<< \ufffd" * 20


def refuses(messages: Messages) -> str:
    return "I cannot help with writing such prompts."


def loops(messages: Messages) -> str:
    """The same proposal whatever it is told."""
    return '{"same": true}' if '{"same"' in messages[-1]["content"] else '{"improvement": "x", "prompt": "again"}'


def empty(messages: Messages) -> str:
    return ""


def endless(messages: Messages) -> tuple[str, str]:
    """Runs in a circle until its tokens are used up."""
    return '{"improvement": "' + "more and more " * 500, "length"
