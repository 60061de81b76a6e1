"""Another request in the disguise of one that succeeded: harmless twins of red-team finds.

Training on finds alone would teach that the disguise is what to refuse, so a twin wears the very same one.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from safekeel.attacks import ATTACKS
from safekeel.attacks.base import WORDINGS
from safekeel.attacks.search.bandit import Arm, dress
from safekeel.attacks.search.base import Context
from safekeel.errors import DataError, UsageError
from safekeel.records import Attack, Message, Prompt

_LABEL = re.compile(r"(?P<family>[^:()]+):(?P<wording>[^:()]+)(?:\((?P<inner>.*)\))?")


def dressed(prompt: Prompt, label: str, number: str, seed: int) -> Prompt:
    """A prompt in the disguise that the bandit calls `label`, such as `fiction:train(role_play:train)`.

    Args:
        number: tells apart the disguises of one prompt.

    Raises:
        DataError: no such label, or a family that does not speak the prompt's language.
    """
    messages = _by_label(prompt, label, seed)
    attack = Attack(name=outer(label), params={"label": label}, parent_id=prompt.id)
    return prompt.model_copy(update={"id": f"find/{prompt.id}/{number}", "messages": messages, "attack": attack})


def alike(prompt: Prompt, find: Prompt, goal: str) -> tuple[Message, ...] | None:
    """The conversation that asks `prompt` in the disguise of `find`; None where the disguise cannot be told.

    A disguise is known by the bandit's label, by the family and wording of a pack, or, where another search wrote it,
    by the goal's own words standing in it.

    Args:
        find: a prompt with an attack, in the same language.
        goal: the undisguised text of the request that `find` disguises.
    """
    if find.attack is None:
        return prompt.messages
    named, params = find.attack.name, find.attack.params
    label = str(params.get("label") or f"{named}:{params.get('wording')}")
    try:
        return _by_label(prompt, label, int(params.get("seed") or 0))
    except (DataError, UsageError):
        return _in_place(prompt.messages[-1].content, find.messages, goal)


def arm_of(label: str) -> Arm:
    """The bandit's arm of that label.

    Raises:
        DataError: no such label.
        UsageError: no such family.
    """
    found = _LABEL.fullmatch(label)
    wording = next((name for name in WORDINGS if found and name == found["wording"]), None)
    if found is None or wording is None:
        raise DataError(f"got the label {label!r}, expected FAMILY:WORDING or FAMILY:WORDING(FAMILY:WORDING).")
    return Arm(ATTACKS.get(found["family"]), wording, arm_of(found["inner"]) if found["inner"] else None)


def outer(label: str) -> str:
    """The family that a label begins with."""
    return label.partition(":")[0]


def _by_label(prompt: Prompt, label: str, seed: int) -> tuple[Message, ...]:
    context = Context(prompt, 1, random.Random(f"{seed}/{prompt.id}/{label}"))
    try:
        return dress(arm_of(label), context)
    except ValueError as error:
        raise DataError(f"{prompt.id} cannot be put into the disguise {label!r}: {error}") from error


def _in_place(request: str, messages: Sequence[Message], goal: str) -> tuple[Message, ...] | None:
    """The same messages with one request in the place of another, if that stands in the last turn as it is."""
    *earlier, last = messages
    if not goal.strip() or goal not in last.content or any(goal in message.content for message in earlier):
        return None
    return (*earlier, last.model_copy(update={"content": last.content.replace(goal, request)}))
