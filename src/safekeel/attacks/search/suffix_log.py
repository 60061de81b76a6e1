"""The steps of an optimised suffix on disk, so that a killed optimisation goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safekeel.records import Name, Record, append_jsonl, recover_jsonl

SUFFIXES = "suffixes.jsonl"


class SuffixRow(Record):
    """The suffix after a step."""

    goal_id: Name
    key: Name
    """Of everything that decides the step (`key_of`)."""
    step: int
    suffix: tuple[int, ...]
    """Token ids of the target's tokenizer."""
    text: str
    loss: float
    """Mean cross-entropy of the wanted beginning under it, nats per token."""


class SuffixLog:
    """Rows of one file, found by key and step."""

    def __init__(self, folder: Path) -> None:
        """
        Raises:
            DataError: the file holds something else than suffixes.
        """
        self.path = folder / SUFFIXES
        rows = recover_jsonl(self.path, SuffixRow) if self.path.exists() else []
        self._known = {(row.key, row.step): row for row in rows}

    def get(self, key: str, step: int) -> SuffixRow | None:
        """That step, if it was taken before."""
        return self._known.get((key, step))

    def add(self, row: SuffixRow) -> None:
        """Keep a step."""
        self._known[row.key, row.step] = row
        append_jsonl(self.path, row)


def key_of(parts: Mapping[str, Any]) -> str:
    """SHA-256 over what decides a suffix: the model, the request, the wanted beginning, the settings."""
    return hashlib.sha256(json.dumps(dict(parts), sort_keys=True, ensure_ascii=False).encode()).hexdigest()
