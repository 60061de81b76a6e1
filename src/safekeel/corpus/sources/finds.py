"""What broke a model, read from the folder of an evaluation or an attack.

prompts, completions, verdicts.jsonl    `safekeel eval`, and the baseline and families of `safekeel attack`
queries.jsonl                           the searches of `safekeel attack`: what they asked, and what came back
pack.json                               which side of the families' wordings the attack was allowed
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from safekeel.attacks.base import WORDINGS
from safekeel.attacks.search.log import QueryRow
from safekeel.errors import DataError
from safekeel.files import read_json
from safekeel.records import Attack, Completion, Prompt, Verdict, read_jsonl

PROMPTS, COMPLETIONS, VERDICTS = "prompts.jsonl", "completions.jsonl", "verdicts.jsonl"
NEEDED = (PROMPTS, COMPLETIONS, VERDICTS)
"""As `safekeel eval` and `safekeel attack` write them."""
QUERIES, ABOUT = "queries.jsonl", "pack.json"
"""As `safekeel attack` writes them; the first only where it searched."""
DIRECT, SEARCH = "direct", "search-"
"""Names of attacks: asking plainly, and before that of a search strategy."""
TRAIN = WORDINGS[0]
MUTATED = "+"
"""In a search's label, before each mutation of a wording."""
_IN_LABEL = re.compile(rf":({'|'.join(WORDINGS)})\b")
"""A label such as `fiction:train(role_play:test)` names the wordings that it is made of."""
Key = tuple[str, int]
"""Prompt id and sample."""


@dataclass(frozen=True)
class Find:
    """A prompt with the harmful answer that it got."""

    prompt: Prompt
    thought: str
    answer: str
    model: str
    completion: str
    """Names the row that the answer is from."""
    where: str

    @property
    def attack(self) -> str:
        return self.prompt.attack.name if self.prompt.attack else DIRECT


@dataclass(frozen=True)
class Finds:
    """Everything that a folder has to learn from, in the order of its files."""

    finds: tuple[Find, ...]
    goals: Mapping[str, Prompt]
    """Undisguised goals by their id, where the folder holds them."""
    wording: str | None
    """The side of the wordings that the attack's families are from; None = not recorded, or no attack."""
    num_answers: int
    notes: tuple[str, ...]


def read_finds(folder: Path) -> Finds:
    """The first harmful answer to each prompt, and every call of a search that succeeded.

    Raises:
        DataError: a file is malformed, or a search attacked a goal that is not among the prompts.
    """
    prompts = read_jsonl(folder / PROMPTS, Prompt)
    completions = read_jsonl(folder / COMPLETIONS, Completion)
    verdicts = [row for row in read_jsonl(folder / VERDICTS, Verdict) if row.part == "answer"]
    harmful = sorted({(row.prompt_id, row.sample) for row in verdicts if row.label == "harmful"})
    unscored = sum(row.unscored for row in verdicts)
    notes = [
        f"{len(prompts)} prompts, {len(completions)} answers, {len(harmful)} of them judged harmful, "
        f"{unscored} not judged"
    ]
    goals = {_goal_id(prompt): prompt for prompt in prompts if prompt.attack is None or prompt.attack.name == DIRECT}
    finds = list(_answered(folder, prompts, completions, harmful))
    queries = read_jsonl(folder / QUERIES, QueryRow) if (folder / QUERIES).is_file() else []
    if queries:
        succeeded = [row for row in queries if row.jailbroken]
        finds += [_searched(folder, row, goals) for row in succeeded]
        notes.append(f"{len(queries)} calls of searches, {len(succeeded)} of them judged harmful")
    about = read_json(folder / ABOUT)
    wording = about.get("wording") if isinstance(about, dict) else None
    return Finds(tuple(finds), goals, wording, len(completions) + len(queries), tuple(notes))


def held_out_wording(prompt: Prompt, wording: str | None) -> str | None:
    """What of a prompt's disguise is of a side that is only measured with, in words; None where nothing is, or where no
    wording is recorded.

    Args:
        wording: of the whole attack. A search of the training side has no other wordings; of another side it has all,
            and only its label tells which went into a prompt.
    """
    if prompt.attack is None:
        return None
    stated, label = prompt.attack.params.get("wording"), str(prompt.attack.params.get("label", ""))
    if isinstance(stated, str) and stated != TRAIN:
        return f"the {stated} wording of {prompt.attack.name}"
    if side := next((side for side in _IN_LABEL.findall(label) if side != TRAIN), None):
        return f"the {side} wording in {label!r}"
    if wording != TRAIN and MUTATED in label:
        return f"{label!r} was made in an attack that had all wordings, and may be mixed with those of another side"
    return None


def _goal_id(prompt: Prompt) -> str:
    return (prompt.attack and prompt.attack.parent_id) or prompt.id


def _answered(folder: Path, prompts: list[Prompt], completions: list[Completion], harmful: list[Key]) -> Iterator[Find]:
    """In the order of the prompts."""
    by_key = {(row.prompt_id, row.sample): row for row in completions}
    first: dict[str, Completion] = {}
    for key in harmful:
        if key in by_key:
            first.setdefault(key[0], by_key[key])
    for prompt in prompts:
        if (row := first.get(prompt.id)) is not None:
            name = f"{prompt.id}#{row.sample}"
            where = f"{folder / COMPLETIONS}: {name}"
            yield Find(prompt, row.thought or "", row.answer, row.model, row.key or name, where)


def _searched(folder: Path, row: QueryRow, goals: Mapping[str, Prompt]) -> Find:
    """
    Raises:
        DataError: its goal is not among the prompts.
    """
    if row.goal_id not in goals:
        raise DataError(
            f"{folder / QUERIES}: a search attacked the goal {row.goal_id!r}, which {PROMPTS} does not hold: the files "
            "are of two attacks. Run the same `safekeel attack` command again."
        )
    name = f"{SEARCH}{row.strategy}"
    params = {"label": row.label, "queries": row.number_of_queries, "kind": "search"}
    update = {
        "id": f"jailbreak-{name}/{row.goal_id}/{row.number_of_queries:03d}",
        "messages": row.messages,
        "attack": Attack(name=name, params=params, parent_id=row.goal_id),
    }
    prompt = goals[row.goal_id].model_copy(update=update)
    where = f"{folder / QUERIES}: {row.prompt_id}"
    return Find(prompt, row.thought or "", row.response, row.model, row.key or row.prompt_id, where)
