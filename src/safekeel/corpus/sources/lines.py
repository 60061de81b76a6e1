"""Lines of text in bounded memory: one that is too long is skipped and its size told."""

from __future__ import annotations

import io

MAX_ROW_CHARS = 1 << 20
"""The longest row that is read, in characters. DeepSeek-R1 and its distilled models see 131,072 tokens (max_position
_embeddings of their config.json); at the 4 to 5 characters of an English token that is 0.6 million."""


class RowTooLong(Exception):
    """A row above `MAX_ROW_CHARS`; it was skipped."""

    def __init__(self, num_bytes: int) -> None:
        super().__init__(too_long(num_bytes))


def too_long(num_bytes: int) -> str:
    """The evidence of a row that is too long."""
    return f"the row has {num_bytes:,} bytes, expected at most {MAX_ROW_CHARS:,} characters"


class Lines:
    """Iterator over lines with their ends. `number` is the last line's, from 1; `num_bytes` and `num_quotes` count what
    was read so far, skipped lines too.

    An iterator rather than a generator, because it goes on after it raised `RowTooLong`.
    """

    def __init__(self, stream: io.TextIOWrapper) -> None:
        self._stream = stream
        self.number = self.num_bytes = self.num_quotes = 0

    def __iter__(self) -> Lines:
        return self

    def __next__(self) -> str:
        """The next line.

        Raises:
            RowTooLong: the line was longer than any row may be.
        """
        line = self._stream.readline(MAX_ROW_CHARS + 1)
        if not line:
            raise StopIteration
        self.number += 1
        size = self._count(line)
        if len(line) <= MAX_ROW_CHARS:
            return line
        while line and not line.endswith(("\n", "\r")):
            line = self._stream.readline(MAX_ROW_CHARS)
            size += self._count(line)
        raise RowTooLong(size)

    def _count(self, text: str) -> int:
        size = len(text.encode("utf-8", "surrogatepass"))
        self.num_bytes += size
        self.num_quotes += text.count('"')
        return size
