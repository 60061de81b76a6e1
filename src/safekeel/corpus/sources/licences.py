"""May a set be trained on? By its licence, and by what it is for: a benchmark that is trained on measures nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safekeel.data.registry import DataSet, find_set, load_registry
from safekeel.errors import UsageError, nearest

BENCHMARK_ROLES = ("safety", "labels")


@dataclass(frozen=True)
class Benchmarks:
    """Names of the benchmarks a set is read by, each with the split that is this set."""

    splits: tuple[tuple[str, str], ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.splits)


def benchmarks_of(data_set: DataSet) -> Benchmarks:
    """The benchmarks that would be worthless after training on the set."""
    from safekeel.bench.safety import BENCHMARKS, PUBLIC

    found = [(bench.name, split) for bench in PUBLIC for split, name in bench.splits if name == data_set.name]
    if not found and data_set.role == "safety":  # the one that has a loader of its own
        found = [(name, "test") for name in BENCHMARKS.names() if name.startswith(f"{data_set.name}-")]
    return Benchmarks(tuple(found))


def check_allowed_names(allow_licence: Sequence[str], allow_benchmarks: Sequence[str]) -> None:
    """An exception for a name that does not exist is a slip of the pen.

    Raises:
        UsageError: no such set or benchmark; the nearest is offered.
    """
    from safekeel.bench.safety import BENCHMARKS

    for name in allow_licence:
        find_set(name)
    known = {*BENCHMARKS.names(), *(data_set.name for data_set in load_registry())}
    for name in allow_benchmarks:
        if name not in known:
            raise UsageError(f"sources.allow_benchmarks: no benchmark or set {name!r}.{nearest(name, known)}")


def check_licence(data_set: DataSet, allowed: Sequence[str]) -> list[str]:
    """Warnings for the card: none, or that the user overrode the licence.

    Raises:
        UsageError: the licence forbids training, and the user did not say otherwise.
    """
    if data_set.training_allowed:
        return []
    if data_set.name not in allowed:
        raise UsageError(
            f"The licence of {data_set.name} ({data_set.licence}) does not allow training a model for any use. Take "
            f'it out, or decide for yourself: sources.allow_licence = ["{data_set.name}"] (the licence then stays '
            "with every row and stands in the card)."
        )
    return [
        f"licence {data_set.licence}: training was allowed by the user, not by the licence; the corpus and models "
        "trained on it may not be used beyond it"
    ]


def check_benchmark(data_set: DataSet, allowed: Sequence[str]) -> Benchmarks:
    """The benchmarks of the set that the user gave up for training.

    Raises:
        UsageError: none was; says which would become worthless.
    """
    found = benchmarks_of(data_set)
    if data_set.name in allowed:
        return found
    given_up = tuple(pair for pair in found.splits if pair[0] in allowed)
    if given_up:
        return Benchmarks(given_up)
    lost = f"the benchmark {' and '.join(found.names)}" if found.names else "a comparison of judges on it"
    raise UsageError(
        f"{data_set.name} is for measuring, not for training: after training on it {lost} measures nothing any more. "
        f'Take it out, or give that up: sources.allow_benchmarks = ["{data_set.name}"].'
    )


def check_own_file(path: Path, allow_licence: Sequence[str], allow_benchmarks: Sequence[str]) -> list[str]:
    """Warnings for a file of the user that is, byte for byte, one of the registry: what holds for its set holds for it.

    Raises:
        UsageError: it is a benchmark, or its licence forbids training, and the user did not allow that.
    """
    data_set = _registered(path)
    if data_set is None:
        return []
    note = [f"{path.name} is a file of {data_set.name} ({data_set.licence})"]
    if data_set.role in BENCHMARK_ROLES:
        given_up = check_benchmark(data_set, allow_benchmarks)
        note.append(f"trained on at the user's word: {', '.join(given_up.names) or data_set.name} measures nothing now")
    return note + check_licence(data_set, allow_licence)


def _registered(path: Path) -> DataSet | None:
    """The set that a file's bytes belong to; only files of a pinned size are hashed."""
    size = path.stat().st_size
    for data_set in load_registry():
        if any(file.num_bytes == size and file.verified and file.matches(path) for file in data_set.files):
            return data_set
    return None
