"""Shared by the tests of a user's own files: write one, read it as a source."""

from __future__ import annotations

import json
from pathlib import Path

from safekeel.corpus.sample import Rejected, Sample
from safekeel.corpus.sources.base import Checked
from safekeel.corpus.sources.own_files import FileSource
from safekeel.taxonomy import load_taxonomy

TAXONOMY = load_taxonomy()
ROWS = [{"prompt": f"Question number {number}, please?", "output": f"Answer {number}."} for number in range(3)]
JSONL = "".join(json.dumps(row) + "\n" for row in ROWS)


def load(path: Path, options: str = "role=general", **columns: str) -> tuple[list[Sample], list[Rejected], list[str]]:
    """(samples, rejected rows, notes) of a file with options."""
    source = FileSource(f"{path}?{options}" if options else str(path), TAXONOMY, columns)
    rows = list(Checked(source, None, 0).rows())
    samples = [row for row in rows if isinstance(row, Sample)]
    return samples, [row for row in rows if isinstance(row, Rejected)], source.notes


def texts(samples: list[Sample]) -> list[str]:
    """What the user says last in each."""
    return [sample.prompt.messages[-1].content for sample in samples]


def write(path: Path, content: str | bytes) -> Path:
    """The path, with that content."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path
