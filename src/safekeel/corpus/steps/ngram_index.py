"""Which held-out items may share an n-gram with a row: sorted hashes behind a bitmap, a batch at a time.

Per language an item has a size of n-grams that count, and a smaller one below which it is not looked for:

    Chinese (more than half Han characters)   13 characters   short items: 8 to 12
    other                                      8 words         short items: 5 to 7

A short item is found by its first n-gram (of 8 characters, 5 words), which a row that contains it must have.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from safekeel.corpus.steps.arrays import I64, U64, ngram_hashes, token_hashes
from safekeel.corpus.steps.normalise import is_han, words

Ngram = tuple[str, ...]
MAX_ITEMS_PER_NGRAM = 10
"""An n-gram of more items than this is a stock phrase, no evidence (GPT-3, arXiv:2005.14165, appendix C)."""
_BITMAP_SLOTS_PER_HASH = 16  # 1 in 16 foreign n-grams passes the bitmap; only those are looked up


@dataclass(frozen=True, slots=True)
class Scale:
    """Lengths in tokens, of one language."""

    size: int
    """N-grams whose share counts; an item below is short."""
    shortest: int
    """An item below is compared as a whole only."""


RUN_WORDS, RUN_CHARACTERS = 13, 26
"""Tokens in a row that are evidence by themselves. 13 words: GPT-3 (arXiv:2005.14165, appendix C). A Chinese word has
about 1.6 characters, which makes 21; with 26 no name of a law or an institution is long enough."""
WORDS, CHARACTERS = Scale(size=8, shortest=5), Scale(size=13, shortest=8)


def scale_of(tokens: Sequence[str]) -> Scale:
    """`CHARACTERS` where more than half of the tokens are Han characters."""
    return CHARACTERS if 2 * sum(map(is_han, tokens)) > len(tokens) else WORDS


def ngrams(tokens: Sequence[str], size: int) -> Iterator[Ngram]:
    """All runs of `size` tokens, in order."""
    return (tuple(tokens[place : place + size]) for place in range(len(tokens) - size + 1))


@dataclass(frozen=True, slots=True)
class _Table:
    """N-grams of one size: which items have each."""

    size: int
    hashes: U64
    """Sorted; one entry per n-gram and item."""
    items: I64
    bitmap: np.ndarray

    def look_up(self, hashes: U64, rows: I64) -> I64:
        """`row << 32 | item` for each n-gram of a row that an item has."""
        maybe = self.bitmap[hashes & np.uint64(len(self.bitmap) - 1)]
        hashes, rows = hashes[maybe], rows[maybe]
        first = np.searchsorted(self.hashes, hashes, "left")
        counts = np.searchsorted(self.hashes, hashes, "right") - first
        places = np.repeat(first - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts) + np.arange(counts.sum())
        found: I64 = (np.repeat(rows, counts) << 32) | self.items[places]
        return found


class NgramIndex:
    """The n-grams of held-out texts, numbered in the order given; texts should differ."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts
        self.scales = [scale_of(words(text)) for text in texts]
        self.stock: set[Ngram] = set()
        """N-grams that more than `MAX_ITEMS_PER_NGRAM` items have."""
        tokens, starts = token_hashes(texts)
        lengths = np.diff(starts)
        is_long = lengths >= np.array([scale.size for scale in self.scales], np.int64)
        self._tables: list[_Table] = []
        for size in sorted({WORDS.size, WORDS.shortest, CHARACTERS.size, CHARACTERS.shortest}):
            hashes, items = ngram_hashes(tokens, starts, size)
            is_first = np.diff(items, prepend=-1) > 0
            counted = np.array([scale.size == size for scale in self.scales], bool) & is_long
            anchored = np.array([scale.shortest == size for scale in self.scales], bool) & ~is_long
            table = self._without_stock(size, hashes, items, counted[items])
            anchors = anchored[items] & is_first
            self._tables.append(_table(size, np.append(table[0], hashes[anchors]), np.append(table[1], items[anchors])))

    def _without_stock(self, size: int, hashes: U64, items: I64, counted: np.ndarray) -> tuple[U64, I64]:
        """The counted n-grams, one entry per item, but for stock phrases, which are noted."""
        places = np.flatnonzero(counted)
        order = places[np.lexsort((items[places], hashes[places]))]
        hash_, item = hashes[order], items[order]
        repeated = np.zeros(len(order), bool)
        repeated[1:] = (hash_[1:] == hash_[:-1]) & (item[1:] == item[:-1])
        hash_, item = hash_[~repeated], item[~repeated]
        values, first, counts = np.unique(hash_, return_index=True, return_counts=True)
        stock = counts > MAX_ITEMS_PER_NGRAM
        wanted = set(values[stock].tolist())
        for owner in set(item[first[stock]].tolist()):
            self._note_stock(owner, size, wanted)
        keep = ~np.repeat(stock, counts)
        return hash_[keep], item[keep]

    def _note_stock(self, item: int, size: int, wanted: set[int]) -> None:
        tokens, starts = token_hashes([self.texts[item]])
        hashes, _ = ngram_hashes(tokens, starts, size)
        for value, ngram in zip(hashes.tolist(), ngrams(words(self.texts[item]), size), strict=True):
            if value in wanted:
                self.stock.add(ngram)

    def candidates(self, texts: Sequence[str]) -> dict[int, list[int]]:
        """For each text that shares an n-gram with an item: the items, ascending."""
        tokens, starts = token_hashes(texts)
        found = [table.look_up(*ngram_hashes(tokens, starts, table.size)) for table in self._tables]
        groups: dict[int, list[int]] = {}
        for pair in np.unique(np.concatenate([np.empty(0, np.int64), *found])).tolist():
            groups.setdefault(pair >> 32, []).append(pair & 0xFFFFFFFF)
        return groups


def _table(size: int, hashes: U64, items: I64) -> _Table:
    order = np.argsort(hashes, kind="stable")
    slots = 1 << (_BITMAP_SLOTS_PER_HASH * max(len(hashes), 1) - 1).bit_length()
    bitmap = np.zeros(slots, bool)
    bitmap[hashes & np.uint64(slots - 1)] = True
    return _Table(size, hashes[order], items[order], bitmap)
