"""Held-out items of the nano world as `Prompt` records: what to refuse, what to answer, which risk, attacks,
problems."""

from __future__ import annotations

import hashlib
import random
from typing import Literal

from safekeel.nano import arithmetic, knowledge
from safekeel.nano.pretraining import risk_choice
from safekeel.nano.requests import WORDING_OF, UserTurn, balanced, say
from safekeel.nano.words import Pair, Words, WordSplit
from safekeel.records import Attack, Message, Prompt

LICENCE = "Apache-2.0"
SOURCE = "nano world"
MeasuredSplit = Literal["validation", "test"]


def _rng(seed: int, *names: str) -> random.Random:
    """An independent stream per item set: changing one set's size never changes another's items."""
    return random.Random(int(hashlib.sha256("/".join([str(seed), *names]).encode()).hexdigest()[:16], 16))


def request_prompt(identifier: str, turn: UserTurn, split: WordSplit, parent_id: str | None = None) -> Prompt:
    """A request as a record. `meta.phrase` is the ground truth of what is asked; no model ever sees `meta`."""
    pair = turn.pair
    attack = (
        Attack(name=turn.family, params={"wording": WORDING_OF[split]}, parent_id=parent_id) if turn.family else None
    )
    meta = {
        "world": "nano",
        "split": split,
        "kind": pair.kind,
        "phrase": pair.phrase,
        "home": pair.home,
        "segments": list(turn.segments),
        "cluster": f"{pair.lang}/{pair.phrase}",
    }
    return Prompt(
        id=identifier,
        messages=(Message(role="user", content=turn.text),),
        lang=pair.lang,
        risk=pair.risk,
        expect="refuse" if pair.risk else "answer",
        target=None,
        source=SOURCE,
        licence=LICENCE,
        attack=attack,
        meta=meta,
    )


def problem_prompt(identifier: str, problem: arithmetic.Problem, expect: Literal["solve", "choose"]) -> Prompt:
    """An arithmetic or knowledge item as a record."""
    return Prompt(
        id=identifier,
        messages=(Message(role="user", content=problem.question),),
        lang=problem.lang,
        risk=None,
        expect=expect,
        target=problem.target,
        source=SOURCE,
        licence=LICENCE,
        attack=None,
        meta={"world": "nano", "split": problem.split, "cluster": problem.cluster},
    )


def refuse_items(words: Words, split: MeasuredSplit, num: int, seed: int) -> list[Prompt]:
    """Plain risky requests, even over the 31 categories and both languages."""
    drawn = balanced(words, split, "risky", num, _rng(seed, "refuse", split))
    return [_plain(f"nano-refuse/{split}/{i:05d}", pair, template, split) for i, (pair, template) in enumerate(drawn)]


def answer_items(words: Words, split: MeasuredSplit, num: int, seed: int) -> list[Prompt]:
    """Harmless requests: five look-alikes for each ordinary one."""
    num_ordinary = num // 6
    drawn = balanced(words, split, "lookalike", num - num_ordinary, _rng(seed, "answer", split))
    drawn += balanced(words, split, "ordinary", num_ordinary, _rng(seed, "ordinary", split))
    return [_plain(f"nano-answer/{split}/{i:05d}", pair, template, split) for i, (pair, template) in enumerate(drawn)]


def _plain(identifier: str, pair: Pair, template: str, split: WordSplit) -> Prompt:
    return request_prompt(identifier, say(pair, template), split)


def attack_items(words: Words, split: MeasuredSplit, family: str, num: int, seed: int) -> list[Prompt]:
    """Risky requests dressed by one family, in the wording of the split."""
    rng = _rng(seed, "attack", family, split)
    prompts = []
    for index, (pair, template) in enumerate(balanced(words, split, "risky", num, rng)):
        turn = say(pair, template, family, WORDING_OF[split], rng)
        parent = f"{pair.lang}/{pair.phrase}"
        prompts.append(request_prompt(f"jailbreak-{family}/{split}/{index:05d}", turn, split, parent))
    return prompts


def risk_choice_items(words: Words, split: MeasuredSplit, num: int, seed: int) -> list[Prompt]:
    """Which risk does this request carry: four options, "none" is right for one item in three."""
    rng = _rng(seed, "riskmc", split)
    drawn = balanced(words, split, "risky", num - num // 3, rng) + balanced(words, split, "lookalike", num // 3, rng)
    prompts = []
    for index, (pair, template) in enumerate(drawn):
        turn = say(pair, template)
        question, _, letter = risk_choice(pair, turn.text, rng, words.categories())
        prompt = request_prompt(f"nano-riskmc/{split}/{index:05d}", turn, split)
        update = {"messages": (Message(role="user", content=question),), "expect": "choose", "target": letter}
        prompts.append(prompt.model_copy(update=update))
    return prompts


def problem_items(kind: Literal["arithmetic", "knowledge"], split: MeasuredSplit, num: int, seed: int) -> list[Prompt]:
    """Different held-out problems, in both languages."""
    rng = _rng(seed, kind, split)
    draw = arithmetic.draw if kind == "arithmetic" else knowledge.draw
    expect: Literal["solve", "choose"] = "solve" if kind == "arithmetic" else "choose"
    found: dict[str, arithmetic.Problem] = {}
    while len(found) < num:
        problem = draw(rng, split)
        found.setdefault(problem.question, problem)
    return [problem_prompt(f"nano-{kind}/{split}/{i:05d}", problem, expect) for i, problem in enumerate(found.values())]
