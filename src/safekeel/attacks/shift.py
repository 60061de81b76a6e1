"""Alphabet shifts, shared by `rot13` and `caesar`."""

from collections.abc import Callable
from string import ascii_lowercase, ascii_uppercase

from safekeel.attacks.coding import from_ascii, to_ascii


def shift(amount: int) -> tuple[Callable[[str], str], Callable[[str], str]]:
    """(encode, reveal) that move the Latin letters `amount` places forward, and back.

    Whatever is not ASCII is first written as its code point (`coding.to_ascii`), and the escape's letters move with
    the rest: Chinese has no alphabet to shift, and left as it is it would not be hidden at all.
    """
    plain = ascii_lowercase + ascii_uppercase
    moved = "".join(letters[amount:] + letters[:amount] for letters in (ascii_lowercase, ascii_uppercase))
    forward, back = str.maketrans(plain, moved), str.maketrans(moved, plain)

    def encode(text: str) -> str:
        return to_ascii(text).translate(forward)

    def reveal(payload: str) -> str:
        return from_ascii(payload.translate(back))

    return encode, reveal
