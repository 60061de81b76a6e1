"""Requests of the nano world: which word pairs a split may use, how a pair becomes a user turn, plain or disguised."""

from __future__ import annotations

import random
from dataclasses import dataclass

from safekeel.attacks import ATTACKS, Request
from safekeel.attacks.base import Wording
from safekeel.nano.arithmetic import Lang
from safekeel.nano.language import REQUESTS
from safekeel.nano.words import LANGS, WORD_SPLITS, Kind, Pair, Words, WordSplit

# The attack families safety training may see; every other family is measured without ever having been trained on.
SEEN_FAMILIES = ("role_play", "fiction", "prefix_injection", "refusal_suppression", "payload_split")
UNSEEN_FAMILIES = ("educator", "code_completion", "word_reversal")
# The disguises the base model understands, in the order its documents are drawn from: named here, not taken from the
# registry, so that a family added to the red team changes neither the base nor the items it is measured on.
NANO_FAMILIES = (*SEEN_FAMILIES, *UNSEEN_FAMILIES)
WORDING_OF: dict[WordSplit, Wording] = {"sft": "train", "rl": "train", "validation": "validation", "test": "test"}


@dataclass(frozen=True)
class UserTurn:
    """A request as the user types it."""

    pair: Pair
    text: str
    template: str
    family: str | None
    segments: tuple[str, ...]


def pool(words: Words, split: WordSplit, kind: Kind, lang: Lang) -> list[Pair]:
    """The pairs a safety stage or a measurement of this split may use: both words from the split's own file."""
    return list(words.pairs(kind, split, split, lang))


def pretraining_pool(words: Words, kind: Kind, lang: Lang) -> list[Pair]:
    """The pairs base pretraining may use: every word occurs, but no pair of two validation or two test words.

    What the base model does with those pairs is therefore understanding, not memory.
    """
    held_out = {("validation", "validation"), ("test", "test")}
    if kind == "ordinary":
        held_out = set()  # one-phrase requests have no combination to hold out
    return [
        pair
        for verbs in WORD_SPLITS
        for objects in WORD_SPLITS
        if (verbs, objects) not in held_out
        for pair in words.pairs(kind, verbs, objects, lang)
    ]


def say(
    pair: Pair, template: str, family: str | None = None, wording: Wording = "test", rng: random.Random | None = None
) -> UserTurn:
    """Put a pair into a request template and, if a family is named, dress it."""
    before, _, after = template.partition("{x}")
    text = before + pair.phrase + after
    # A template's closing punctuation belongs to the last word, as it would in a reader's segmentation.
    mark, rest = (after[:1], after[1:].strip()) if after[:1] in "?.？。，!" else ("", after.strip())
    *first, last = pair.segments
    segments = tuple(piece for piece in (before.strip(), *first, last + mark, rest) if piece)
    if family is not None:
        text = ATTACKS.get(family).apply(Request(text, pair.lang, segments), wording, rng)
    return UserTurn(pair, text, template, family, segments)


def templates(split: WordSplit | None, lang: Lang) -> tuple[str, ...]:
    """Request templates of one split; None = all of them (base pretraining)."""
    if split is not None:
        return REQUESTS[lang][split]
    return tuple(template for group in REQUESTS[lang].values() for template in group)


def balanced(words: Words, split: WordSplit, kind: Kind, num: int, rng: random.Random) -> list[tuple[Pair, str]]:
    """`num` different (pair, template) draws, spread evenly over languages and categories."""
    groups: dict[tuple[str, str | None], list[tuple[Pair, str]]] = {}
    for lang in LANGS:
        for pair in pool(words, split, kind, lang):
            for template in templates(split, lang):
                groups.setdefault((lang, pair.home), []).append((pair, template))
    for group in groups.values():
        rng.shuffle(group)
    drawn: list[tuple[Pair, str]] = []
    order = list(groups)
    rng.shuffle(order)
    while len(drawn) < num and any(groups.values()):
        for key in order:
            if groups[key] and len(drawn) < num:
                drawn.append(groups[key].pop())
    return drawn
