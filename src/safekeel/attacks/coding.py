"""What the families share that rewrite a request: filling the field `c` with the encoded request, character tables that
undo themselves, words put into Chinese text.

Every encoding made with these keeps the whole request: decoding gives it back character by character, in any script. So
an attack that fails under one failed at the model, not in the transform.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

from safekeel.attacks.base import Request


def coded(encode: Callable[[str], str]) -> Callable[[Request, random.Random], dict[str, str]]:
    """A `fill` whose field `c` is the encoded request."""

    def fill(request: Request, rng: random.Random) -> dict[str, str]:
        return {"c": encode(request.text)}

    return fill


def swap_table(pairs: Iterable[tuple[str, str]]) -> dict[int, str]:
    """A table for `str.translate` that exchanges the characters of each pair. It maps one to one onto the same
    characters, so translating twice gives any text back, also one that held the replacements from the start.

    Raises:
        ValueError: a character stands in two pairs.
    """
    table: dict[int, str] = {}
    for left, right in pairs:
        if left == right or ord(left) in table or ord(right) in table:
            raise ValueError(f"the pair {left!r}, {right!r} uses a character twice; expected each in one pair only.")
        table[ord(left)], table[ord(right)] = right, left
    return table


def to_ascii(text: str) -> str:
    """Everything beyond printable ASCII as a backslash escape of its code point (`\\u5b89`), as in JSON or Python.

    Alphabets of Latin letters leave Chinese as it is, which would be no disguise; its code points are letters and
    digits, and any reader can turn them back.
    """
    return text.encode("unicode_escape").decode("ascii")


def from_ascii(text: str) -> str:
    """The inverse of `to_ascii`.

    Raises:
        UnicodeError: not made by it.
    """
    return text.encode("ascii").decode("unicode_escape")


def spaced(parts: Iterable[str]) -> str:
    """The parts joined, with a space where two words (or a word and a Chinese character) would touch."""
    out: list[str] = []
    for part in parts:
        if out and out[-1][-1:].isalnum() and part[:1].isalnum():
            out.append(" ")
        out.append(part)
    return "".join(out)
