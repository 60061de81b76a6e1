"""Which texts may be similar: MinHash signatures cut into bands, and a compact index of the bands (LSH).

    key ──5-grams──► hashes ──rensa──► signature of bands × rows numbers ──► one 32-bit hash per band ──► BandIndex

Two texts of Jaccard similarity s share a band with probability 1 - (1 - s^rows)^bands (Leskovec, Rajaraman, Ullman,
Mining of Massive Datasets, 3.4). rensa makes the signatures in Rust: 23 µs a prompt with everything around it, where
datasketch 2.0 needs 225 (192 numbers, prompts of 20 to 200 characters). Its own LSH index was measured too: 2.8 kB a
row at 32 bands, so a million rows would fill 2.8 of the 4 GiB that issue 4 allows; the arrays here take 0.5 kB a row.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from safekeel.corpus.steps.arrays import I64, mixed, shingle_hashes
from safekeel.errors import UsageError

U32 = NDArray[np.uint32]
NUM_BANDS = 32
MISS = 1e-4
"""Chance that a pair exactly at the threshold shares no band; above it the chance falls fast."""
MAX_ROWS_PER_BAND = 8
"""As datatrove and FineWeb have it (14 bands of 8); more would only save candidates at thresholds near 1."""
MAX_CHAIN = 16
"""Texts compared per band, newest first. Only a corpus of thousands of nearly equal texts has longer chains; without a
limit its cost would be quadratic. A text that is missed in one band still has 31 others."""
MAX_CANDIDATES = 32
"""Texts compared in all, those that share most bands first: at the threshold a pair shares 8 bands on average, and
fewer than two in one case of a thousand."""
_SEED = 1
_FIRST_CAPACITY = 1 << 12


def rows_per_band(threshold: float) -> int:
    """As many rows per band as keep the chance of a miss at the threshold below `MISS`: few candidates, full recall."""
    fitting = [rows for rows in range(1, MAX_ROWS_PER_BAND + 1) if (1 - threshold**rows) ** NUM_BANDS <= MISS]
    return max(fitting, default=1)


class BandHasher:
    """Band hashes of comparison keys. The last batch is remembered: steps that share a hasher pay once.

    Args:
        threshold: Jaccard from which pairs must be found.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self._rows = rows_per_band(threshold)
        self._place: dict[str, int] = {}  # key -> row of self._bands
        self._bands: U32 = np.empty((0, NUM_BANDS), np.uint32)

    def __call__(self, keys: Sequence[str]) -> U32:
        """(len(keys), NUM_BANDS) hashes; equal keys have equal rows."""
        unique = dict.fromkeys(keys)
        if missing := [key for key in unique if key not in self._place]:
            known = [key for key in unique if key in self._place]
            remembered = self._bands[[self._place[key] for key in known]]
            self._bands = np.concatenate([remembered, self._hash(missing)])
            self._place = {key: place for place, key in enumerate([*known, *missing])}
        return self._bands[[self._place[key] for key in keys]]

    def finds(self, threshold: float) -> BandHasher:
        """Itself.

        Raises:
            ValueError: it was made for a higher threshold, and would miss pairs at this one.
        """
        if self.threshold > threshold:
            raise ValueError(f"band hashes for {self.threshold} miss pairs at {threshold}; share one for the lower.")
        return self

    def _hash(self, keys: Sequence[str]) -> U32:
        signatures = _signatures(keys, NUM_BANDS * self._rows).reshape(len(keys), NUM_BANDS, self._rows)
        combined = np.zeros((len(keys), NUM_BANDS), np.uint64)
        for row in range(self._rows):
            combined = mixed(combined ^ signatures[:, :, row])
        return (combined >> np.uint64(32)).astype(np.uint32)


def _signatures(keys: Sequence[str], size: int) -> NDArray[np.uint64]:
    """(len(keys), size) MinHash signatures of the keys' shingles.

    Raises:
        UsageError: rensa is not installed.
    """
    try:
        from rensa import RMinHash
    except ImportError as error:
        raise UsageError(
            "Finding near duplicates needs rensa, which is not installed. "
            "Install it with: pip install 'safekeel[corpus]'"
        ) from error
    if not keys:
        return np.empty((0, size), np.uint64)
    hashes, starts = shingle_hashes(keys)
    rows = RMinHash.digest_matrix_from_flat_token_hashes(hashes, starts, size, _SEED).to_rows()
    return np.array(rows, np.uint64)


class BandIndex:
    """Entries 0, 1, 2 … by their band hashes. Per band one table of newest entries, chained to older ones.

    Tables hold no hash, only a slot (the low bits): a wrong neighbour in a slot is told by the entry's own hash. That
    is 16 to 24 bytes per entry and band less than a dictionary would take.
    """

    def __init__(self) -> None:
        self._count = 0
        self._allocate(_FIRST_CAPACITY)

    def __len__(self) -> int:
        return self._count

    def _allocate(self, capacity: int) -> None:
        """Arrays for `capacity` entries; `_newest` has twice as many slots. Entries are stored as number + 1."""
        self._hashes = np.zeros((capacity, NUM_BANDS), np.uint32)
        self._older = np.zeros((capacity, NUM_BANDS), np.uint32)
        self._newest = np.zeros((NUM_BANDS, 2 * capacity), np.uint32)

    def candidates(self, bands: U32) -> tuple[I64, I64]:
        """Pairs (row of `bands`, entry) that share a band, at most `MAX_CANDIDATES` a row; sorted, each pair once."""
        rows, columns = np.indices(bands.shape).reshape(2, -1)
        wanted = bands.reshape(-1)
        current = self._newest[columns, wanted & (self._newest.shape[1] - 1)].astype(np.int64)
        found: list[I64] = []
        for _ in range(MAX_CHAIN):
            alive = np.flatnonzero(current)
            if not len(alive):
                break
            rows, columns, wanted, entries = rows[alive], columns[alive], wanted[alive], current[alive] - 1
            same = self._hashes[entries, columns] == wanted
            found.append((rows[same] << 32) | entries[same])
            current = self._older[entries, columns].astype(np.int64)
        return _most_shared(found)

    def add(self, bands: U32) -> None:
        """Append entries."""
        count, first = len(bands), self._count
        if first + count > len(self._hashes):
            self._grow(first + count)
        self._hashes[first : first + count] = bands
        self._count += count
        self._link(first, bands)

    def _link(self, first: int, bands: U32) -> None:
        """Put entries first, first + 1 … in front of their slots' chains, band by band."""
        slots = bands & (self._newest.shape[1] - 1)
        for band in range(NUM_BANDS):
            order = np.argsort(slots[:, band], kind="stable")
            slot, entry = slots[order, band], (order + first + 1).astype(np.uint32)
            follows = np.zeros(len(slot), bool)  # whether an earlier new entry has the same slot
            follows[1:] = slot[1:] == slot[:-1]
            self._older[entry - 1, band] = np.where(follows, np.roll(entry, 1), self._newest[band, slot])
            self._newest[band, slot] = entry  # numpy assigns in order: the last of equal slots stays

    def _grow(self, needed: int) -> None:
        hashes = self._hashes[: self._count]
        self._allocate(max(needed, 2 * len(self._hashes)))
        # Slots must be a power of two, so that the low bits of a hash are a slot.
        self._newest = np.zeros((NUM_BANDS, 1 << (2 * len(self._hashes) - 1).bit_length()), np.uint32)
        self._hashes[: len(hashes)] = hashes
        for start in range(0, len(hashes), _FIRST_CAPACITY):
            self._link(start, hashes[start : start + _FIRST_CAPACITY])


def pairs_within(bands: U32) -> tuple[I64, I64]:
    """Pairs (later row, earlier row) of one batch that share a band, at most `MAX_CANDIDATES` a later row; sorted, each
    pair once."""
    found: list[I64] = []
    for band in range(bands.shape[1]):
        order = np.argsort(bands[:, band], kind="stable")
        ordered = bands[order, band]
        for distance in range(1, min(MAX_CHAIN, len(order) - 1) + 1):
            same = np.flatnonzero(ordered[distance:] == ordered[:-distance])
            if not len(same):
                break
            found.append((order[same + distance] << 32) | order[same])
    return _most_shared(found)


def _most_shared(found: Sequence[I64]) -> tuple[I64, I64]:
    """Of pairs `row << 32 | entry`, one per shared band, those of each row that share most bands."""
    pairs, shared = np.unique(np.concatenate([np.empty(0, np.int64), *found]), return_counts=True)
    order = np.lexsort((pairs, -shared, pairs >> 32))  # by row, then by bands, then by entry
    rows = pairs[order] >> 32
    rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
    kept = np.sort(pairs[order][rank < MAX_CANDIDATES])
    return kept >> 32, kept & 0xFFFFFFFF
