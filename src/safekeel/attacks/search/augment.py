"""Random changes of a text that a reader still understands: Best-of-N's (Hughes et al. 2024, arXiv 2412.03556).

              English (the paper's, section 2)                    Chinese (ours: it has no case and no inner letters)
    shuffle   the inner letters of words longer than three        two neighbours in a run of characters change places
    case      letters change case                                 ASCII letters, digits and marks take full width
    noise     printable ASCII characters move by one code point   a mark that is not read stands between characters

Which happens where is drawn; `sigma` sets how much: shuffle and case hit with sigma^(1/2), noise with sigma^3 (the
paper's code). Text of both scripts gets both columns.
"""

from __future__ import annotations

import random
import re

SIGMA = 0.4
"""The paper's strength for text."""
_WORD = re.compile(r"[A-Za-z]{4,}")
_HAN_RUN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]{2,}")
_MARKS = ("·", " ", "-", "，", "、")
"""What Chinese readers skip inside a run; none changes the meaning."""
_FULL_WIDTH_OFFSET = 0xFEE0
"""From `!` (U+0021) to `！` (U+FF01), and so for all printable ASCII."""


def augment(text: str, rng: random.Random, sigma: float = SIGMA) -> str:
    """One augmentation of a text; the same draws give the same text."""
    often, seldom = sigma**0.5, sigma**3
    text = _WORD.sub(lambda word: _shuffled(word[0], rng, often), text)
    text = _HAN_RUN.sub(lambda run: _swapped(run[0], rng, sigma), text)
    text = "".join(_recased(c, rng, often) for c in text)
    text = _HAN_RUN.sub(lambda run: _marked(run[0], rng, seldom), text)
    has_han = _HAN_RUN.search(text) is not None
    return "".join(_widened(c, rng, often) if has_han else _moved(c, rng, seldom) for c in text)


def _shuffled(word: str, rng: random.Random, probability: float) -> str:
    if rng.random() >= probability:
        return word
    inner = list(word[1:-1])
    rng.shuffle(inner)
    return word[0] + "".join(inner) + word[-1]


def _swapped(run: str, rng: random.Random, sigma: float) -> str:
    """At most one swap per run, as likely as the run is long: two would leave a Chinese reader guessing."""
    if rng.random() >= min(1.0, sigma * len(run) / 8):
        return run
    place = rng.randrange(len(run) - 1)
    return run[:place] + run[place + 1] + run[place] + run[place + 2 :]


def _recased(character: str, rng: random.Random, probability: float) -> str:
    if not (character.isascii() and character.isalpha()) or rng.random() >= probability:
        return character
    return character.swapcase()


def _marked(run: str, rng: random.Random, probability: float) -> str:
    """Marks between characters; one in sixteen gaps at the paper's strength."""
    return "".join(c + rng.choice(_MARKS) if rng.random() < probability else c for c in run[:-1]) + run[-1]


def _moved(character: str, rng: random.Random, probability: float) -> str:
    if not (" " < character < "~") or rng.random() >= probability:
        return character
    return chr(ord(character) + rng.choice((-1, 1)))


def _widened(character: str, rng: random.Random, probability: float) -> str:
    if not ("!" <= character <= "~") or rng.random() >= probability:
        return character
    return chr(ord(character) + _FULL_WIDTH_OFFSET)
