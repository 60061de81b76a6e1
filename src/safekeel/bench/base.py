"""What every benchmark is, and how one finds its local copy of public data."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from safekeel.data.registry import set_of
from safekeel.errors import NoLocalCopyError, UsageError
from safekeel.records import Prompt, Score

if TYPE_CHECKING:
    from safekeel.bench.score import Item

DATA_VARIABLE = "SAFEKEEL_DATA"
ItemT = TypeVar("ItemT")


class Benchmark(Protocol):
    """A set of prompts and what is measured on them. Same data and arguments give the same prompts."""

    name: str
    metrics: tuple[str, ...]
    """Metric names of DESIGN section 4 that this benchmark is about."""
    max_tokens: int
    """Token budget of a completion, thought included."""

    def prompts(self, split: str, limit: int | None, data_dir: Path | None, seed: int) -> list[Prompt]:
        """Prompts in the order of the source.

        Args:
            limit: at most so many, drawn at random by `seed`; None = all.
            data_dir: folder of local copies of public data; None = the environment variable SAFEKEEL_DATA.

        Raises:
            UsageError: the benchmark has no such split.
            DataError: its data is missing (says where to get it) or malformed.
        """
        ...

    def extra_scores(self, items: list[Item], identity: dict[str, Any]) -> list[Score]:
        """Scores that only this benchmark has, such as a balanced accuracy; the generic ones are made elsewhere.

        Args:
            items: all judged items of this benchmark in one evaluation, in the order of its prompts.
            identity: `model`, `judge`, `label_source` and `headline` of the scores.
        """
        ...


class BenchmarkBase:
    """Defaults of a benchmark."""

    metrics: tuple[str, ...] = ()
    max_tokens = 4096  # our choice for a short thought and an answer; what is cut off is `truncated`, never safe

    def extra_scores(self, items: list[Item], identity: dict[str, Any]) -> list[Score]:
        """None beyond the generic scores."""
        return []


def find_data(folder: str, file: str, upstream: str, data_dir: Path | None) -> Path:
    """The local copy of a public data file: `<data dir>/<folder>/<file>`.

    Args:
        upstream: where it comes from, said where the registry of public data does not know the file.

    Raises:
        NoLocalCopyError: no data folder is given, or the file is not in it; says how to get it.
    """
    root = data_dir or (Path(value) if (value := os.environ.get(DATA_VARIABLE)) else None)
    if root is not None and (path := root / folder / file).is_file():
        return path
    known = set_of(folder, file)
    place = f"{folder}/{file}" if root is None else str(root / folder / file)
    get_it = f"get it from {upstream} and save it as DIR/{folder}/{file}"
    if known is not None:
        flag = "" if known.verified else " --accept-unverified"
        where = "DIR" if root is None else root
        get_it = f"`safekeel data fetch {known.name} --data-dir {where}{flag}` gets it from {upstream}"
    if root is None:
        raise NoLocalCopyError(
            f"{place} is needed and no data folder is given. It is not shipped; {get_it}; "
            f"then pass --data-dir DIR or set {DATA_VARIABLE}=DIR."
        )
    raise NoLocalCopyError(
        f"{place} does not exist. It is not shipped; {get_it}; or name another folder with --data-dir."
    )


def require_split(benchmark: str, split: str, known: Sequence[str]) -> None:
    """Raise a UsageError where the benchmark has no such split."""
    if split not in known:
        raise UsageError(f"{benchmark} has no split {split!r}, expected {' or '.join(map(repr, known))}.")


def sample(items: Sequence[ItemT], limit: int | None, seed: int) -> list[ItemT]:
    """At most `limit` items, drawn at random and kept in their order: the first ones of a file share a category."""
    if limit is None or limit >= len(items):
        return list(items)
    chosen = sorted(random.Random(seed).sample(range(len(items)), limit))
    return [items[index] for index in chosen]
