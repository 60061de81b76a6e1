"""Texts as numpy columns: a batch becomes one array of code points, and every shingle and n-gram one 64-bit hash.

Hashes only select candidates; whoever uses them compares the texts themselves before a row is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from safekeel.corpus.steps.normalise import fold, is_han

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

SHINGLE = 5
"""Characters per shingle: works for Chinese and English alike (issue 4; the same length as the first loop's)."""
_MULTIPLIER = 0x9E3779B97F4A7C15  # odd, 2^64 / golden ratio (Knuth, TAOCP 3, 6.4): the base of the rolling hashes
_OTHER, _WORD, _HAN = 0, 1, 2
_NUM_CODE_POINTS = 0x110000


def code_points(texts: Sequence[str]) -> tuple[NDArray[np.uint32], I64]:
    """All characters of a batch in one array, and where each text begins (`len(texts) + 1` offsets)."""
    flat = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    return flat, offsets([len(text) for text in texts])


def offsets(lengths: Sequence[int] | I64) -> I64:
    """Where each of several runs begins when they are put end to end, and where the last one ends."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def shingle_hashes(keys: Sequence[str]) -> tuple[U64, U64]:
    """Hashes of the character shingles of each key, end to end, and the offsets of each key's (`len(keys) + 1`).

    A key shorter than one shingle is one shingle, filled up with NUL.
    """
    flat, starts = code_points([key if len(key) >= SHINGLE else key.ljust(SHINGLE, "\0") for key in keys])
    hashes, _ = ngram_hashes(flat.astype(np.uint64), starts, SHINGLE)
    return hashes, offsets(np.diff(starts) - (SHINGLE - 1)).astype(np.uint64)


def ngram_hashes(tokens: U64, starts: I64, size: int) -> tuple[U64, I64]:
    """Hashes of all n-grams of `size` tokens that lie within one text, and the number of the text of each."""
    texts = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    if len(tokens) < size:
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    last = len(tokens) - size + 1
    hashes = np.full(last, size, np.uint64)  # the size is part of the hash: an 8-gram is never taken for a 13-gram
    for place in range(size):
        hashes = hashes * np.uint64(_MULTIPLIER) + tokens[place : place + last]
    inside = texts[:last] == texts[size - 1 :]
    return mixed(hashes[inside]), texts[:last][inside]


def token_hashes(texts: Sequence[str]) -> tuple[U64, I64]:
    """Hashes of the tokens of `normalise.words` for each text, end to end, and the offsets of each text's tokens."""
    flat, starts = code_points([fold(text) + "\n" for text in texts])  # the line end keeps texts apart
    kinds = _kinds()[flat]
    is_start = kinds != _OTHER
    is_start[1:] &= (kinds[1:] == _HAN) | (kinds[:-1] != _WORD)  # a Han character, or the first letter of a run
    begins = np.flatnonzero(is_start)
    if not len(begins):
        return np.empty(0, np.uint64), np.zeros(len(texts) + 1, np.int64)
    ends = np.flatnonzero((kinds != _OTHER) & ((kinds == _HAN) | (np.append(kinds[1:], _OTHER) != _WORD))) + 1
    tokens = mixed(_run_hashes(flat, begins, ends))
    counts = np.diff(np.searchsorted(begins, starts))
    return tokens, offsets(counts)


def _run_hashes(flat: NDArray[np.uint32], begins: I64, ends: I64) -> U64:
    """Polynomial hash of each run of characters, by prefix sums: all runs of a batch at once, whatever their length.

    With S[i] the sum of c[k] * B**k for k < i (mod 2^64), a run's hash is (S[end] - S[begin]) / B**begin, and an odd B
    has an inverse.
    """
    powers = _powers(_MULTIPLIER, len(flat))
    inverses = _powers(pow(_MULTIPLIER, -1, 1 << 64), len(flat))
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum((flat.astype(np.uint64) + np.uint64(1)) * powers)])
    result: U64 = (sums[ends] - sums[begins]) * inverses[begins]
    return result


def _powers(base: int, count: int) -> U64:
    """base**0 … base**(count - 1), mod 2^64."""
    factors = np.full(count, base, np.uint64)
    factors[:1] = 1
    return np.multiply.accumulate(factors)


def mixed(values: U64) -> U64:
    """SplitMix64's finaliser (Steele et al., OOPSLA 2014): low bits then depend on all bits."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


@cache
def _kinds() -> NDArray[np.uint8]:
    """For each code point: part of a word, a Han character, or neither; agrees with `normalise.words` by test."""
    kinds = np.zeros(_NUM_CODE_POINTS, np.uint8)
    for code in range(_NUM_CODE_POINTS):
        character = chr(code)
        if is_han(character):
            kinds[code] = _HAN
        elif character.isalnum():
            kinds[code] = _WORD
    return kinds
