"""The options of a CHiSafetyBench question, which stand as text inside it, in every layout that the file has.

    A. 是↵B. 否          1,205 items, and 360 with a space before the dot
    A、… B、…↵C、…       id 302: two options on one line
    A．…                 id 618: full-width dots
    …↵stem     A. 是     id 1070: the first option on the line of the stem
    C青少年…             id 584: a letter without its dot

The letters must be A, B, … without a gap, each after white space or at a line start; whatever stands before the last
such A is the stem. (Statements that a question numbers 1., 2., … stay in the stem.)
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

LETTERS = "ABCDEFGH"
_MARKER = re.compile(r"(?:(?<=\s)|^)([A-H])(?:[ \t]*[.．、]|(?=[\u4e00-\u9fff]))")
_ABOUT_OTHERS = re.compile("以上|上述|(?:所有|没有)选项")
"""An option that speaks of the others ("以上都是") only makes sense after them: ids 257, 475, 1528."""


class Question(NamedTuple):
    """A stem and its options: letter -> text, in order; no outer white space, no NBSP."""

    stem: str
    options: dict[str, str]


def parse_question(text: str) -> Question:
    """Tell stem and options apart.

    Raises:
        ValueError: no stem, fewer than two options, a gap in the letters, or an option without text.
    """
    text = text.replace("\u00a0", " ").strip()
    markers = list(_MARKER.finditer(text))
    firsts = [index for index, marker in enumerate(markers) if marker[0] != "A" and marker[1] == "A"]
    chosen = markers[firsts[-1] :] if firsts else []
    letters = "".join(marker[1] for marker in chosen)
    if len(chosen) < 2 or not LETTERS.startswith(letters):
        raise ValueError(f"got option letters {letters!r}, expected 'AB', 'ABC', … each at a line start")
    ends = [*(marker.start() for marker in chosen[1:]), len(text)]
    texts = [text[marker.end() : end].strip() for marker, end in zip(chosen, ends, strict=True)]
    stem = text[: chosen[0].start()].strip()
    if not stem or not all(texts):
        raise ValueError("expected text before the options and in each of them")
    return Question(stem, dict(zip(letters, texts, strict=True)))


def reversed_order(options: dict[str, str]) -> dict[str, str]:
    """New letter -> old letter when the texts are written in reversed order; a last option about the others stays."""
    letters = list(options)
    stays = 1 if _ABOUT_OTHERS.search(options[letters[-1]]) else 0
    moving = letters[: len(letters) - stays]
    return dict(zip(letters, [*reversed(moving), *letters[len(moving) :]], strict=True))


def fingerprint(text: str) -> str:
    """What remains of a text without case, width, punctuation and white space; duplicates share it."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", text).lower())
