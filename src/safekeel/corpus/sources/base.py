"""What every source of the corpus offers, which ones a configuration asks for, and what holds for all of them.

    SourcesConfig ──open_sources──► [Source] ──read_sources──► samples, rejected rows

A source that gives nothing is an error that names it; a row that cannot be used is a `Rejected` with file and line;
an id occurs once per corpus.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pydantic import Field

from safekeel.config import StageConfig
from safekeel.corpus.sample import Rejected, Sample
from safekeel.errors import DataError, UsageError
from safekeel.records import Completion, Prompt
from safekeel.taxonomy import Taxonomy

Row = Sample | Rejected
Ask = Callable[[list[Prompt]], list[Completion]]
"""One completion per prompt, in their order: an engine with its sampling, or a store in front of one."""
Say = Callable[[str], None]
STEP = "source"
"""`Rejected.step` of a row that a source could not use."""


class Source(Protocol):
    """One origin of rows. `notes` and `warnings` are complete once `rows` is exhausted."""

    name: str
    licence: str
    training_allowed: bool
    """By licence; False where the user allowed it by name."""
    notes: list[str]
    """What was decided while reading (encoding, columns, header): for the terminal and the card."""
    warnings: list[str]
    files: list[Path]
    """What is read: a build is done again when one of them changes."""

    def rows(self) -> Iterator[Row]:
        """Samples, and a `Rejected` with file and line for each row that is not one; never an exception for one row.

        Raises:
            DataError: the source as a whole cannot be read, gives no row, or more than half of it is broken.
        """
        ...


@dataclass
class SourceBase:
    """The fields of a source; a subclass adds `rows`."""

    name: str
    licence: str
    training_allowed: bool = True
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)


class SourcesConfig(StageConfig):
    """Which sources; every name that is not one is a UsageError."""

    starter: bool = True
    """SafeKeel's own prompts, each with a harmless counterpart."""
    clauses: bool = False
    """Prompts that an engine writes from the law clauses of each category."""
    clause_requests: int = Field(8, ge=1, le=50)
    """Prompts asked for per category and language."""
    sets: tuple[str, ...] = ()
    """Public sets by their name in the registry (`safekeel data list`)."""
    files: tuple[str, ...] = ()
    """The user's own files: PATH or `PATH?role=risky&lang=zh&category=A.1.a&prompt=goal` (`sources.options`)."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Options for all files, such as {"prompt": "goal"}; those of a file itself win."""
    redteam: tuple[str, ...] = ()
    """Folders that `safekeel eval` or `safekeel attack` wrote: prompts whose answer was judged harmful."""
    allow_licence: tuple[str, ...] = ()
    """Sets whose licence forbids training, used all the same: the user's decision, carried into rows and card."""
    allow_benchmarks: tuple[str, ...] = ()
    """Benchmarks, or sets of them, that may be trained on; they measure nothing afterwards."""
    limit_per_source: int | None = Field(None, ge=1)
    """At most so many samples of each, drawn at random by `seed`; twins stay together, so it may be one more."""
    seed: int = 0


def open_sources(
    config: SourcesConfig, data_dir: Path | None, taxonomy: Taxonomy, *, ask: Ask | None = None
) -> list[Source]:
    """The sources of a configuration, all of them checked before the first row is read.

    Args:
        data_dir: folder of public data; None = the environment variable SAFEKEEL_DATA.
        ask: writes the prompts of the source `clauses`; only that one needs it.

    Raises:
        UsageError: an unknown name or option, a licence or benchmark that was not allowed, no source at all.
        DataError: a file or folder that is missing, or a public file that is not the pinned one.
    """
    from safekeel.corpus.sources.clauses import ClauseSource
    from safekeel.corpus.sources.licences import check_allowed_names
    from safekeel.corpus.sources.own_files import FileSource
    from safekeel.corpus.sources.public import open_set
    from safekeel.corpus.sources.redteam import RedTeamSource
    from safekeel.corpus.sources.starter import StarterSource

    check_allowed_names(config.allow_licence, config.allow_benchmarks)
    found: list[Source] = []
    if config.starter:
        found.append(StarterSource(taxonomy))
    if config.clauses:
        if ask is None:
            raise UsageError("sources.clauses = true needs an engine that writes the prompts; name a teacher model.")
        found.append(ClauseSource(taxonomy, ask, config.clause_requests))
    found += [
        open_set(name, data_dir, allow_licence=config.allow_licence, allow_benchmarks=config.allow_benchmarks)
        for name in config.sets
    ]
    found += [
        FileSource(
            spec,
            taxonomy,
            config.columns,
            allow_licence=config.allow_licence,
            allow_benchmarks=config.allow_benchmarks,
        )
        for spec in config.files
    ]
    found += [RedTeamSource(Path(folder), config.allow_benchmarks) for folder in config.redteam]
    if not found:
        raise UsageError(
            "No source at all: set sources.starter = true, or name public sets (sources.sets), files (sources.files) "
            "or folders of evaluations or attacks (sources.redteam)."
        )
    if twice := [name for name, count in Counter(source.name for source in found).items() if count > 1]:
        raise UsageError(f"The source {twice[0]!r} is named twice; name it once, or give one a name with ?name=….")
    return [Checked(source, config.limit_per_source, config.seed) for source in found]


def read_sources(sources: Sequence[Source], say: Say | None = None) -> tuple[list[Sample], list[Rejected]]:
    """All rows of all sources, in their order; an id that another source has already given is rejected.

    Args:
        say: gets one line per note and warning, as soon as a source is read.

    Raises:
        DataError: a source as a whole cannot be read, or gives nothing.
    """
    samples: dict[str, Sample] = {}
    rejected: list[Rejected] = []
    for source in sources:
        for row in source.rows():
            if isinstance(row, Rejected):
                rejected.append(row)
            elif row.id in samples:
                rejected.append(_repeated(row, source.name))
            else:
                samples[row.id] = row
        for line in [*source.notes, *(f"WARNING: {text}" for text in source.warnings)]:
            if say is not None:
                say(f"{source.name}: {line}")
    return list(samples.values()), rejected


class Checked:
    """A source whose ids are unique, that gives at least one sample, and no more than a limit."""

    def __init__(self, source: Source, limit: int | None, seed: int) -> None:
        self.source, self.limit, self.seed = source, limit, seed
        self.name, self.licence, self.training_allowed = source.name, source.licence, source.training_allowed
        self.notes, self.warnings, self.files = source.notes, source.warnings, source.files

    def rows(self) -> Iterator[Row]:
        """See `Source.rows`. With a limit, rejected rows come first and samples after the last one was read."""
        seen: set[str] = set()
        reasons: Counter[str] = Counter()
        first = ""
        drawn = None if self.limit is None else _Draw(self.limit, self.seed)
        for row in self.source.rows():
            if isinstance(row, Sample) and row.id in seen:
                row = _repeated(row, self.name)
            if isinstance(row, Rejected):
                reasons[row.reason] += 1
                first = first or f"{row.where or (row.sample.id if row.sample else '')}: {row.evidence}"
                yield row
                continue
            seen.add(row.id)
            if drawn is None:
                yield row
            else:
                drawn.add(row)
        if not seen:
            raise _nothing(self.name, reasons, first)
        if drawn is not None:
            yield from drawn.samples()
            if drawn.read > drawn.total:
                self.notes.append(f"{drawn.total} of {drawn.read} samples drawn (limit {self.limit}, seed {self.seed})")


class _Draw:
    """The samples with the smallest hashes: a random choice that holds no more than the limit in memory, does not
    depend on the order of reading, and changes little when rows are added."""

    def __init__(self, limit: int, seed: int) -> None:
        self.limit, self.seed = limit, seed
        self.read = self.total = 0
        self._groups: dict[int, list[tuple[int, Sample]]] = {}
        self._largest: list[int] = []  # negated ranks: heapq keeps the smallest first
        self._bound = 1 << 256

    def add(self, sample: Sample) -> None:
        """Take a sample, or drop one; twins share a rank, so they stay or go together."""
        self.read += 1
        couple = min(sample.id, sample.pair or sample.id)
        rank = int.from_bytes(hashlib.sha256(f"{self.seed}\0{couple}".encode()).digest())
        if rank >= self._bound:
            return
        if rank not in self._groups:
            heapq.heappush(self._largest, -rank)
        self._groups.setdefault(rank, []).append((self.read, sample))
        self.total += 1
        while self.total - len(self._groups[-self._largest[0]]) >= self.limit:
            self._bound = -heapq.heappop(self._largest)
            self.total -= len(self._groups.pop(self._bound))

    def samples(self) -> Iterable[Sample]:
        """What stayed, in the order of reading."""
        return [sample for _, sample in sorted((pair for group in self._groups.values() for pair in group), key=_place)]


def _place(entry: tuple[int, Sample]) -> int:
    return entry[0]


def _repeated(sample: Sample, source: str) -> Rejected:
    where = str(sample.prompt.meta.get("where", source))
    evidence = f"the id {sample.id!r} occurs before; expected unique ids"
    return Rejected(sample=sample, where=where, step=STEP, reason="duplicate_id", evidence=evidence)


def _nothing(name: str, reasons: Counter[str], first: str) -> DataError:
    if not reasons:
        return DataError(f"The source {name} is empty: it has no row. Take it out, or name the right file.")
    listed = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
    return DataError(
        f"The source {name}: all {reasons.total()} rows were rejected ({listed}). The first: {first}. Correct the "
        "file or its options, or take the source out."
    )
