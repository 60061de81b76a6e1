"""Texts that are alike: exact Jaccard of character 5-grams, asked only of the pairs that an LSH index proposes."""

from __future__ import annotations

from collections.abc import Iterable

from safekeel.corpus.steps.arrays import I64, SHINGLE
from safekeel.corpus.steps.band_index import U32, BandIndex, pairs_within


def shingle_set(key: str) -> frozenset[str]:
    """Character shingles of a comparison key; one shorter than a shingle is its own."""
    return frozenset(key[place : place + SHINGLE] for place in range(max(1, len(key) - SHINGLE + 1)))


def jaccard(left: frozenset[str], right: frozenset[str]) -> float:
    """Shared shingles among all shingles of two texts."""
    shared = len(left & right)
    return shared / (len(left) + len(right) - shared)


class SimilarTexts:
    """Keys that were kept, numbered 0, 1, 2 …, and which of them a new key may resemble.

    A batch is decided row by row: `keep` numbers a key at once, `index` makes the batch's kept keys findable for the
    next one; within the batch `candidates_within` finds them.
    """

    def __init__(self) -> None:
        self.keys: list[str] = []
        self._index = BandIndex()

    def keep(self, key: str) -> int:
        """Append a key; its number."""
        self.keys.append(key)
        return len(self.keys) - 1

    def index(self, bands: U32) -> None:
        """Add the band hashes of the keys kept since the last call, in the same order."""
        self._index.add(bands)

    def candidates(self, bands: U32) -> dict[int, list[int]]:
        """For each row of `bands` that has any: the numbers of indexed keys it may resemble, ascending."""
        return _grouped(*self._index.candidates(bands))

    def most_similar(self, key: str, numbers: Iterable[int], threshold: float) -> tuple[int, float] | None:
        """Of the keys with these numbers the most similar one and its Jaccard, if at least `threshold`; of equals the
        first."""
        mine: frozenset[str] | None = None
        best: tuple[int, float] | None = None
        for number in numbers:
            other = self.keys[number]
            if key == other:
                return number, 1.0
            mine = shingle_set(key) if mine is None else mine
            found = jaccard(mine, shingle_set(other))
            if found >= threshold and (best is None or found > best[1]):
                best = number, found
        return best


def candidates_within(bands: U32) -> dict[int, list[int]]:
    """For each row of one batch that has any: the earlier rows of the batch that it may resemble, ascending."""
    return _grouped(*pairs_within(bands))


def _grouped(rows: I64, values: I64) -> dict[int, list[int]]:
    groups: dict[int, list[int]] = {}
    for row, value in zip(rows.tolist(), values.tolist(), strict=True):
        groups.setdefault(row, []).append(value)
    return groups
