"""A pack: goals times attack families as prompts, written once and never changed; its hash names it.

    pack.jsonl   one Prompt per line: the undisguised baseline `direct`, then family by family
    pack.json    the hash of pack.jsonl, and what it was made of

The same goals, families, wording and seed give the same bytes, so two models measured with one hash were asked the
same. What a family makes of a goal does not depend on which other families or goals are in the pack.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safekeel import __version__
from safekeel.artifact import atomic_write_json
from safekeel.attacks.base import AttackFamily, Request, Wording
from safekeel.errors import DataError, shown
from safekeel.files import atomic_open, read_json
from safekeel.records import Attack, Message, Prompt, read_jsonl

DIRECT = "direct"
"""The family that changes nothing: what any other is compared with."""
PACK, ABOUT = "pack.jsonl", "pack.json"
PREFIX = "jailbreak-"


@dataclass(frozen=True)
class Pack:
    """Prompts in their order, and what is known of how they were made."""

    prompts: tuple[Prompt, ...]
    about: dict[str, Any]
    """`families`, `skipped` (family -> goals in a language it does not speak), `wording`, `seed`, `max_tokens`,
    `goals`; only what is known of a frozen pack of another maker."""
    raw: bytes | None = None
    """The file of a frozen pack, which is written again byte by byte."""

    @property
    def content(self) -> bytes:
        """What `pack.jsonl` holds."""
        return self.raw or b"".join(prompt.model_dump_json().encode() + b"\n" for prompt in self.prompts)

    @property
    def sha256(self) -> str:
        """The pack's hash: that of `pack.jsonl`."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def families(self) -> tuple[str, ...]:
        """Names in the order of their first prompt."""
        return tuple(dict.fromkeys(family_of(prompt) for prompt in self.prompts))

    @property
    def goals(self) -> tuple[Prompt, ...]:
        """The undisguised goals, with their own ids."""
        return tuple(_goal(prompt) for prompt in self.prompts if family_of(prompt) == DIRECT)


def family_of(prompt: Prompt) -> str:
    """The attack family of a prompt; an undisguised one is `direct`."""
    return prompt.attack.name if prompt.attack is not None else DIRECT


def goal_of(prompt: Prompt) -> str:
    """The id of the goal behind a prompt."""
    return (prompt.attack and prompt.attack.parent_id) or prompt.id


def build_pack(
    goals: Sequence[Prompt], families: Sequence[AttackFamily], wording: Wording = "test", seed: int = 0
) -> Pack:
    """The baseline and every family over every goal whose language it speaks."""
    prompts = [_attacked(goal, DIRECT, goal.messages, {}) for goal in goals]
    skipped: dict[str, int] = {}
    for family in families:
        if family.name == DIRECT:
            continue
        spoken = [goal for goal in goals if goal.lang in family.languages]
        prompts += [_dressed(goal, family, wording, seed) for goal in spoken]
        if len(spoken) < len(goals):
            skipped[family.name] = len(goals) - len(spoken)
    return Pack(tuple(prompts), {"wording": wording, "seed": seed, "skipped": skipped})


def _dressed(goal: Prompt, family: AttackFamily, wording: Wording, seed: int) -> Prompt:
    *earlier, last = goal.messages
    # Only the nano world says where the pieces of a request are; a multi-turn goal's are not those of its last turn.
    segments = tuple(goal.meta.get("segments", ())) if not earlier else ()
    messages = family.messages(Request(last.content, goal.lang, segments), wording, _rng(seed, family.name, goal.id))
    params = {"wording": wording, "seed": seed, "kind": family.kind, "mode": family.mode}
    return _attacked(goal, family.name, (*earlier, *messages), params)


def _attacked(goal: Prompt, family: str, messages: Sequence[Message], params: dict[str, Any]) -> Prompt:
    update = {
        "id": f"{PREFIX}{family}/{goal.id}",
        "messages": tuple(messages),
        "attack": Attack(name=family, params=params, parent_id=goal.id),
    }
    return goal.model_copy(update=update)


def _goal(prompt: Prompt) -> Prompt:
    return prompt.model_copy(update={"id": goal_of(prompt), "attack": None})


def _rng(seed: int, *names: str) -> random.Random:
    """An independent stream per family and goal."""
    return random.Random(int(hashlib.sha256("\0".join([str(seed), *names]).encode()).hexdigest()[:16], 16))


def write_pack(folder: Path, pack: Pack, name: str = PACK) -> list[Path]:
    """Write `pack.jsonl` and `pack.json`, or another name's; returns their paths."""
    path = folder / name
    with atomic_open(path) as file:
        file.write(pack.content)
    stated = {"sha256": pack.sha256, "num_prompts": len(pack.prompts), "families": list(pack.families)}
    about = {"safekeel": __version__, **pack.about}
    described = path.with_suffix(".json")
    atomic_write_json(described, stated | {key: value for key, value in about.items() if key not in stated})
    return [path, described]


def read_pack(path: Path, expected: str | None = None) -> Pack:
    """A frozen pack, its hash checked against `expected` and against the `pack.json` beside it.

    Raises:
        DataError: no such file, a malformed row, an empty pack, two prompts with one id, or another hash than stated.
    """
    if path.is_dir():
        path = path / PACK
    prompts = read_jsonl(path, Prompt)
    if not prompts:
        raise DataError(f"{path} is empty; expected a pack, one prompt per line.")
    if len({prompt.id for prompt in prompts}) < len(prompts):
        raise DataError(f"{path}: two prompts share an id; a pack's ids are unique. Take the pack as it was written.")
    about = read_json(path.with_suffix(".json"))
    pack = Pack(tuple(prompts), about if isinstance(about, dict) else {}, path.read_bytes())
    stated = {"--pack-sha256": expected, path.with_suffix(".json").name: pack.about.get("sha256")}
    for where, value in stated.items():
        if value is not None and str(value).lower() != pack.sha256:
            raise DataError(
                f"{path} is not the pack that {where} names: expected sha256 {shown(value)}, got {pack.sha256}. Its "
                "prompts were changed, so its numbers would not be comparable. Take the pack as it was written."
            )
    return pack
