"""Hashed character n-grams: what the `linear` judge sees of a text.

A text is read in two spaces whose n-grams have hashes of their own, since the same words weigh differently by place:
the opening, where a refusal stands, and the whole, for what is handed over later. Chinese and English go the same way:
nothing is split at spaces, and width, case, line breaks and invisible characters change nothing.
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from safekeel.errors import DataError, shown

EDGE = "\x02"  # stands before the first and after the last character, so that n-grams know the ends
GAP = "\x03"  # stands for the middle of an overlong text
_HAN = "㐀-䶿一-鿿豈-\ufaff\U00020000-\U000323af"
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\ufe00-\ufe0f\ufeff\ue000-\uf8ff]+"
)
_SPACES = re.compile(r"\s+")
_HAN_SPACE = re.compile(f" (?:(?=[{_HAN}])|(?<=[{_HAN}] ))")
_DIGITS = re.compile(r"\d+")
_OMITTED = re.compile(  # what our own training rows leave out ("[地点略]"): else it is learnt as the sign of harm
    r"[\[({【〔][^\[\](){}【】〔〕\n]{0,40}?(?:略|省去|隐去|隱去|遮去|删去|刪去|omitted|redacted)[^\[\](){}【】〔〕\n]{0,20}[\])}】〕]"
)
_MULTIPLIER = 0x9E3779B1  # the prime next to 2^32 / golden ratio: Fibonacci hashing (Knuth, TAOCP 3, 6.4)
_STEP = np.uint32(0x01000193)  # the 32-bit FNV prime
_SPREAD = np.uint32(16)


class Space(NamedTuple):
    """Where n-grams are taken from: the first `num_chars` characters (None = all), `shortest` to `longest` of them."""

    num_chars: int | None
    shortest: int
    longest: int


class Features(NamedTuple):
    """How texts become buckets; part of every model, and of its version."""

    spaces: tuple[Space, ...]
    bits: int
    """A bucket is a number in [0, 2**bits)."""
    max_chars: int
    """A longer text is read at both ends, half of this each."""

    @classmethod
    def from_json(cls, given: object) -> Features:
        """Read back what `json.dumps` made of `_asdict()`.

        Raises:
            DataError: not of that form.
        """
        try:
            spaces = tuple(Space(*space) for space in given["spaces"])  # type: ignore[index]
            return cls(spaces, int(given["bits"]), int(given["max_chars"]))  # type: ignore[index]
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"the features of a linear model are {shown(given)}, expected spaces, bits and max_chars; "
                "fit the model again with `fit`, or reinstall safekeel."
            ) from error


DEFAULT = Features(spaces=(Space(160, 1, 4), Space(None, 2, 4)), bits=17, max_chars=8_000)
"""Six variants (n up to 6, openings of 40 to 200, a third space for the end, 16 to 18 bits) were within one standard
error of each other out of fold, so this is the cheapest of them (docs/results/judging/linear.md)."""


class Hashed(NamedTuple):
    """A text's n-grams: distinct buckets of all spaces, and the value of each."""

    buckets: npt.NDArray[np.int64]
    values: npt.NDArray[np.float32]
    """1 / sqrt(number of buckets in the space): each space has length 1 however long the text."""
    is_chinese: bool
    has_words: bool
    """Whether there is any letter or digit."""


_OF_PROMPT = 0x155_5555  # flips bits of a prompt's buckets: its words are others than the answer's


def joined(answer: Hashed, prompt: Hashed, features: Features) -> Hashed:
    """An answer with the prompt it answers; the language is the answer's."""
    others = prompt.buckets ^ (_OF_PROMPT & ((1 << features.bits) - 1))
    return answer._replace(
        buckets=np.concatenate([answer.buckets, others]), values=np.concatenate([answer.values, prompt.values])
    )


def plain(text: str, max_chars: int) -> str:
    """What is hashed: NFKC, lower case, no invisible characters, white space as one space and none beside Chinese
    characters, every number as 0, and nothing where our own training rows say that they leave something out."""
    text = _both_ends(text, 2 * max_chars)  # first, since NFKC of megabytes takes seconds
    text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text).lower())
    text = _HAN_SPACE.sub("", _SPACES.sub(" ", text).strip())
    return _both_ends(_DIGITS.sub("0", _OMITTED.sub("", text)), max_chars).strip()


def _both_ends(text: str, max_chars: int) -> str:
    return text if len(text) <= max_chars else f"{text[: max_chars // 2]}{GAP}{text[-(max_chars // 2) :]}"


def hashed(text: str, features: Features) -> Hashed:
    """The n-grams of a text (any text: it goes through `plain`)."""
    read = plain(text, features.max_chars)
    line = f"{EDGE}{read}{EDGE}"
    codes = np.frombuffer(line.encode("utf-32-le", "replace"), dtype=np.uint32)
    found: list[npt.NDArray[np.uint32]] = []
    rolling = np.zeros(len(codes), dtype=np.uint32)
    for n in range(1, min(max(space.longest for space in features.spaces), len(codes)) + 1):
        rolling = (rolling[: len(codes) - n + 1] ^ codes[n - 1 :]) * _STEP
        mixed = rolling ^ (rolling >> _SPREAD)
        for index, space in enumerate(features.spaces):
            if space.shortest <= n <= space.longest:
                found.append(_numbered(mixed if space.num_chars is None else mixed[: space.num_chars], index, features))
    distinct = _distinct(np.concatenate(found))
    starts = np.searchsorted(distinct, [index << features.bits for index in range(len(features.spaces) + 1)])
    sizes = np.diff(starts)
    values = np.repeat((1 / np.sqrt(np.maximum(sizes, 1))).astype(np.float32), sizes)
    buckets = (distinct & np.uint32((1 << features.bits) - 1)).astype(np.int64)
    return Hashed(buckets, values, _is_chinese(codes), any(char.isalnum() for char in read))


def _numbered(mixed: npt.NDArray[np.uint32], index: int, features: Features) -> npt.NDArray[np.uint32]:
    """Buckets, with the number of the space above their bits."""
    multiplier = np.uint32(_MULTIPLIER * (2 * index + 1) & 0xFFFFFFFF)
    return ((mixed * multiplier) >> np.uint32(32 - features.bits)) | np.uint32(index << features.bits)


def _distinct(numbers: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """`np.unique` without its overhead, which is half the time on texts of this size."""
    numbers.sort()
    return numbers[np.concatenate(([True], numbers[1:] != numbers[:-1]))]


def _is_chinese(codes: npt.NDArray[np.uint32]) -> bool:
    """Whether Chinese characters carry the text: at least one in five of all characters. A word of English has five or
    six letters where Chinese has two, so a text of one half each counts as Chinese."""
    num_han = np.count_nonzero(((codes >= 0x3400) & (codes <= 0x9FFF)) | ((codes >= 0x20000) & (codes <= 0x323AF)))
    return bool(5 * num_han >= len(codes) - 2 and num_han > 0)
