"""How many requests one endpoint gets at a time: as many as it takes, found by what it turns away.

Window by window, as congestion control does (one cut per window, in proportion to the share turned away: DCTCP,
RFC 8257). A stray 429 among hundreds of answers says nothing about load and costs nothing; an overloaded server is at
its own level within a few cuts, and the limit grows back when its answers do.
"""

from __future__ import annotations

TOLERATED = 0.1
"""Share turned away that is no sign of overload; it also keeps the limit just above what the server takes."""
GROWTH = 0.1
"""Per window without overload: from one request at a time back to 500 in about 50 windows."""
SAMPLE = 40
"""Answers that are evidence enough for a cut: 2% of stray refusals pass the tolerated share once in a thousand."""


class Limiter:
    """The limit of one endpoint, between `floor` and `most`. It starts at `most`: there is no slow ramp."""

    def __init__(self, most: int, floor: int = 1) -> None:
        self.most, self.floor = most, min(floor, most)
        self.window = 0
        """Number of the current window; a request carries the one it was sent in."""
        self._limit = float(most)
        self._answered = self._refused = 0

    @property
    def limit(self) -> int:
        """Requests that may be in flight."""
        return int(self._limit)

    def answered(self, window: int, refused: bool) -> None:
        """Note one answer.

        Args:
            window: `self.window` when its request was sent. Requests sent before the last cut belong to the overload
                that caused it, so their refusals never cut again.
            refused: turned away for load (429, 503), whatever it would have answered.
        """
        if window != self.window:
            return
        self._answered += 1
        self._refused += refused
        share = self._refused / self._answered
        if share > TOLERATED and self._answered >= min(self.limit, SAMPLE):
            self._limit = max(float(self.floor), self._limit * (1 - share / 2))
            self.window += 1
            self._answered = self._refused = 0
        elif self._answered >= self.limit:
            self._limit = min(float(self.most), self._limit + max(1.0, GROWTH * self._limit))
            self._answered = self._refused = 0
