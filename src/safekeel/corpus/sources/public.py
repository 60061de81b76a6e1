"""Sources: public sets by their name in the registry, where licence and purpose allow training.

A capability set is read from its training or development files only; its test items are never a source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from safekeel.corpus.sample import Rejected, Role, Sample
from safekeel.corpus.sources import public_rows as rows_of
from safekeel.corpus.sources.base import Row, Source, SourceBase
from safekeel.corpus.sources.licences import BENCHMARK_ROLES, check_benchmark, check_licence
from safekeel.corpus.sources.pinned import checked_path, data_root
from safekeel.corpus.sources.raw import RawRow, rejected_row
from safekeel.corpus.sources.reading import Reading, read_rows
from safekeel.data.registry import DataSet, find_set
from safekeel.errors import UsageError
from safekeel.records import Expect


@dataclass(frozen=True)
class Loader:
    """How a set becomes samples: its files for training, and one row of them."""

    files: str
    """What the names of these files begin with."""
    sample: Callable[[RawRow, rows_of.Place], Sample]
    header: bool | None = None
    warning: str = ""


LOADERS: dict[str, Loader] = {
    "star1": Loader("STAR-1", rows_of.star1),
    "star1-benign": Loader("STAR-benign", rows_of.star1_benign),
    "alpaca-demo": Loader("alpaca_", rows_of.alpaca),
    "zh-r1-distill-110k": Loader(
        "distill_r1",
        rows_of.zh_r1_distill,
        warning="some of its prompts are translations of public mathematics sets (GSM8K_zh among them), which no "
        "comparison of texts finds: compare capability on sets that are not",
    ),
    "gsm8k": Loader("train", rows_of.gsm8k),
    "ceval": Loader("dev/", rows_of.ceval),
    "cmmlu": Loader("dev/", rows_of.cmmlu),
    "mmlu": Loader("dev/", rows_of.mmlu, header=False),
}
"""Sets that can be trained on. `star1-benign` and `zh-r1-distill-110k` are read by their documented schema; their
bytes were out of reach where this was written."""


def open_set(
    name: str, data_dir: Path | None, *, allow_licence: Sequence[str] = (), allow_benchmarks: Sequence[str] = ()
) -> Source:
    """The source of a set in the registry; its files are there and are the pinned ones.

    Raises:
        UsageError: no such set; a benchmark or a licence that the user did not allow; a set without training items.
        DataError: a file is missing or changed.
    """
    data_set = find_set(name)
    if data_set.role in BENCHMARK_ROLES:
        given_up = check_benchmark(data_set, allow_benchmarks)
        warnings = check_licence(data_set, allow_licence)
        if not given_up.splits:
            raise UsageError(
                f"{name} has no loader for training: it holds answers with labels. Name the file itself as your own "
                f"(sources.files), with ?role= and columns. {_known()}"
            )
        return BenchmarkSource(data_set, given_up.splits, data_dir, warnings)
    if name not in LOADERS:
        raise UsageError(f"{name} holds test items only, and those are never a source. {_known()}")
    return PublicSource(data_set, LOADERS[name], data_dir, check_licence(data_set, allow_licence))


def _known() -> str:
    return f"Sets that can be trained on: {', '.join(LOADERS)}."


class PublicSource(SourceBase):
    """The training items of a public set."""

    def __init__(self, data_set: DataSet, loader: Loader, data_dir: Path | None, warnings: list[str]) -> None:
        """Find and check all files.

        Raises:
            DataError: one is missing or changed.
        """
        super().__init__(data_set.name, data_set.licence, data_set.training_allowed, warnings=list(warnings))
        self._data_set, self._loader = data_set, loader
        self._paths: list[tuple[str, Path]] = []
        for file in data_set.files:
            if file.file.startswith(loader.files):
                path, note = checked_path(data_set, file, data_dir)
                self._paths.append((file.file, path))
                self.files.append(path)
                self.notes += [note] if note else []
        if loader.warning:
            self.warnings.append(loader.warning)
        root = data_root(data_dir)
        if data_set.name == "cmmlu" and root and not any((root / "cmmlu" / "test").glob("*.csv")):
            self.warnings.append(
                "the benchmark cmmlu uses these development items where its test set is missing, as in this data "
                "folder: fetch cmmlu-test before measuring it"
            )

    def rows(self) -> Iterator[Row]:
        """See `Source.rows`."""
        place = rows_of.Place(self._data_set)
        for file, path in self._paths:
            for number, row in enumerate(read_rows(path, Reading(header=self._loader.header))):
                if isinstance(row, Rejected):
                    yield row
                    continue
                try:
                    yield self._loader.sample(row, place.at(file, number))
                except rows_of.UnexpectedRow as error:
                    yield rejected_row(row.where, "unexpected_row", str(error))


class BenchmarkSource(SourceBase):
    """The items of benchmarks that the user gave up for training."""

    def __init__(
        self, data_set: DataSet, splits: Sequence[tuple[str, str]], data_dir: Path | None, warnings: list[str]
    ) -> None:
        """Check the local files of the set.

        Raises:
            DataError: one is changed.
        """
        names = ", ".join(name for name, _ in splits)
        given_up = f"trained on at the user's word: {names} measures nothing for a model made from this corpus"
        super().__init__(data_set.name, data_set.licence, data_set.training_allowed, warnings=[*warnings, given_up])
        self._splits, self._data_dir = tuple(splits), data_dir
        root = data_root(data_dir)
        for file in data_set.files:
            if root is not None and data_set.local(file, root).is_file():
                self.files.append(checked_path(data_set, file, data_dir)[0])

    def rows(self) -> Iterator[Row]:
        """See `Source.rows`.

        Raises:
            DataError: a file is missing or malformed.
        """
        from safekeel.bench.safety import BENCHMARKS

        roles: dict[Expect, Role] = {
            "refuse": "risky",
            "either": "risky",
            "answer": "counter",
            "choose": "replay",
            "solve": "replay",
        }
        for name, split in self._splits:
            for prompt in BENCHMARKS.get(name).prompts(split, None, self._data_dir, 0):
                yield Sample(id=prompt.id, role=roles[prompt.expect], prompt=prompt)
