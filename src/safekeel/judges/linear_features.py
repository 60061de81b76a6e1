"""Hashed character n-grams: what the `linear` judge sees of a text.

A text is read in three spaces, each with hashes of its own, because the same words weigh differently by place: the
opening, where a refusal stands; the closing, where help is offered or a hedge added; and the whole, for what is handed
over on the way. Chinese and English go the same way: nothing is split at spaces.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Buckets = npt.NDArray[np.int64]
EDGE = "\x02"  # stands before the first and after the last character, so that n-grams know the ends
HOLE = ""
_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
_INVISIBLE = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\ue000-\uf8ff]+")
_OMITTED = re.compile(
    r"[\[({【〔<][^\[\](){}【】〔〕<>\n]{0,40}?(?:略|省去|隐去|隱去|遮去|删去|刪去|omitted|redacted)[^\[\](){}【】〔〕<>\n]{0,20}[\])}】〕>]"
)
_SPACES = re.compile(r"\s+")
_HAN_SPACE = re.compile(rf"(?<=[{_HAN}]) | (?=[{_HAN}])")
_DIGITS = re.compile(r"\d+")
_HAN_CHAR = re.compile(f"[{_HAN}]")
_LETTER = re.compile(r"[^\W\d_]")
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: Fibonacci hashing (Knuth, TAOCP 3, 6.4)
_STEP = np.uint64(0x100000001B3)  # the FNV-1a prime


@dataclass(frozen=True)
class Space:
    """Which characters are read and how.

    `start` and `end` cut the text (None = its ends); n-grams have `shortest` to `longest` characters.
    """

    name: str
    start: int | None
    end: int | None
    shortest: int
    longest: int


def plain(text: str, limit: int) -> str:
    """What is hashed: NFKC, lower case, no invisible characters, white space as one space and none beside Chinese
    characters, every number as 0.

    A text of more than `limit` characters keeps half of that from either end.
    """
    text = _ends(text, 4 * limit)  # NFKC and the patterns are linear, yet 5 MB of them take seconds
    text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text)).lower()
    text = _HAN_SPACE.sub("", _SPACES.sub(" ", text).strip())
    return _ends(_DIGITS.sub("0", _OMITTED.sub(HOLE, text)), limit)


def _ends(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit // 2] + HOLE + text[-(limit // 2) :]


def is_chinese(text: str) -> bool:
    """Whether Chinese characters carry the text: at least one in five of its letters."""
    num_letters = len(_LETTER.findall(text))
    return num_letters > 0 and 5 * len(_HAN_CHAR.findall(text)) >= num_letters


def buckets(text: str, spaces: tuple[Space, ...], bits: int) -> list[Buckets]:
    """Per space, the sorted distinct buckets in [0, 2**bits) of the n-grams of `plain` text."""
    return [_hashed(text[space.start : space.end], index, space, bits) for index, space in enumerate(spaces)]


def _hashed(text: str, salt: int, space: Space, bits: int) -> Buckets:
    codes = np.frombuffer(f"{EDGE}{text}{EDGE}".encode("utf-32-le", "replace"), dtype=np.uint32).astype(np.uint64)
    found = []
    rolling = np.full(len(codes), salt + 1, dtype=np.uint64)
    for n in range(1, min(space.longest, len(codes)) + 1):
        rolling = (rolling[: len(codes) - n + 1] ^ codes[n - 1 :]) * _STEP
        if n >= space.shortest:
            found.append((rolling ^ (rolling >> np.uint64(29))) * _MULTIPLIER >> np.uint64(64 - bits))
    return np.unique(np.concatenate(found)).astype(np.int64) if found else np.empty(0, dtype=np.int64)
