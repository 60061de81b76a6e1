"""How much a text repeats itself, in words: a Chinese character is one, in other scripts what stands between spaces.

Gopher's ratios (arXiv 2112.11446, table A1) count words between spaces, of which a Chinese page has next to none.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

GRAM = 10  # Gopher's longest; shorter ones repeat in honest prose ("it is important to")
MIN_UNITS = 50  # below, one quoted sentence is half of a text
MAX_PERIOD, MIN_ROUNDS = 64, 4
"""Of a loop: words that are said over and over, and how often in a row. R1's loops repeat a sentence or two."""
_UNITS = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]|[^\s\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+")
_MIX = np.uint64(0x9E3779B97F4A7C15)  # odd: multiplication by it loses nothing (Knuth's multiplicative hashing)

Ids = NDArray[np.uint64]


def units_of(text: str) -> Ids:
    """The words of a text as numbers: equal words have equal numbers. Shape: (number of words,)."""
    numbers: dict[str, int] = {}
    words = _UNITS.findall(text)
    return np.fromiter((numbers.setdefault(word, len(numbers)) for word in words), np.uint64, len(words))


def repeated_share(units: Ids, gram: int = GRAM) -> float:
    """Share of the words that lie in a run of `gram` words which stood there before; 0 for fewer than `MIN_UNITS`."""
    count = len(units)
    if count < max(MIN_UNITS, gram):
        return 0.0
    windows = np.zeros(count - gram + 1, np.uint64)
    for offset in range(gram):
        windows = windows * _MIX + (units[offset : offset + len(windows)] + np.uint64(1)) * _MIX
    _, first = np.unique(windows, return_index=True)
    again = np.ones(len(windows), bool)
    again[first] = False
    edges = np.zeros(count + 1, np.int64)
    starts = np.flatnonzero(again)
    np.add.at(edges, starts, 1)
    np.add.at(edges, starts + gram, -1)
    return float((np.cumsum(edges[:-1]) > 0).mean())


def loop_length(units: Ids) -> int:
    """Words of the longest stretch that repeats up to `MAX_PERIOD` words at least `MIN_ROUNDS` times in a row."""
    longest = 0
    if len(units) < MIN_UNITS:
        return 0
    for period in range(1, min(MAX_PERIOD, len(units) // MIN_ROUNDS) + 1):
        same = np.concatenate(([False], units[period:] == units[:-period], [False]))
        edges = np.flatnonzero(same[1:] != same[:-1])
        if len(edges):
            stretch = int((edges[1::2] - edges[::2]).max()) + period
            if stretch >= MIN_ROUNDS * period:
                longest = max(longest, stretch)
    return longest
