"""What the page of an attack rests on beside the measured rows, kept in the folder so that the page can be made again.

    sources.json   the judges with their cards, and the folders given with --base and --transfer

A folder of a version that did not write it yet is read from its own `attack.json`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, ValidationError

from safekeel.artifact import CONFIG, atomic_write_json
from safekeel.attack_run.pack import PACK, Pack, read_pack
from safekeel.bench.routing import RoutedJudge
from safekeel.bench.run import VERDICTS, members
from safekeel.engines.base import Sampling
from safekeel.errors import DataError, explain
from safekeel.files import read_json
from safekeel.judges.base import Judge, JudgeCard, OneByOne, packaged_card
from safekeel.judges.nano import NanoJudge
from safekeel.judges.options import OptionsJudge
from safekeel.records import Completion, LabelSource, Name, Prompt, Record, Text, Verdict, read_jsonl

SOURCES = "sources.json"
_EXACT = (NanoJudge.name, OptionsJudge.name)
"""Judges that are right by construction, whatever a folder says of them."""


@dataclass(frozen=True)
class Sources:
    """What the report needs beside the folder."""

    pack: Pack
    judge: Judge
    sampling: Sampling
    base: tuple[Path, ...] = ()
    transfer: tuple[Path, ...] = ()


class OtherFolder(Record):
    """A folder given with --base or --transfer."""

    given: Text
    """As the user wrote it: the page names it so."""
    absolute: Text
    relative: Text
    """From the attack's own folder: where both were moved together, it is still right."""

    def find(self, folder: Path) -> Path:
        """Where it lies now.

        Raises:
            DataError: not there any more.
        """
        given, absolute = Path(self.given), Path(self.absolute)
        if given.absolute() == absolute and absolute.is_dir():
            return given
        for place in (absolute, Path(os.path.normpath(folder.absolute() / self.relative))):
            if place.is_dir():
                return place
        raise DataError(
            f"{folder}: its page compares with {self.given}, which is neither at {absolute} nor at {self.relative} "
            "from here. Put that folder back, or run the same `safekeel attack` command with its new place (--base, "
            "--transfer): nothing is asked again."
        )


class RecordedJudge(Record, OneByOne):
    """What a page says of a judge. It judges nothing: the verdicts are there."""

    model_config = ConfigDict(frozen=False)  # what a `Judge` is asks for attributes that can be set

    name: Name
    version: Name
    label_source: LabelSource | None = None
    card: JudgeCard | None = None

    def judge(self, prompt: Prompt, completion: Completion) -> list[Verdict]:
        """
        Raises:
            DataError: always.
        """
        raise DataError(f"{self.name} is only a record of a judge; `safekeel score` judges again.")


class Recorded(Record):
    """The content of `sources.json`."""

    judges: tuple[RecordedJudge, ...] = ()
    base: tuple[OtherFolder, ...] = ()
    transfer: tuple[OtherFolder, ...] = ()


def write_sources(folder: Path, sources: Sources) -> Path:
    """Write `sources.json`; returns its path."""
    judges = tuple(
        RecordedJudge(name=judge.name, version=judge.version, label_source=judge.label_source, card=judge.card)
        for judge in members(sources.judge).values()
    )
    base, transfer = (tuple(_other(path, folder) for path in paths) for paths in (sources.base, sources.transfer))
    recorded = Recorded(judges=judges, base=base, transfer=transfer)
    atomic_write_json(folder / SOURCES, recorded.model_dump(mode="json"))
    return folder / SOURCES


def _other(path: Path, folder: Path) -> OtherFolder:
    absolute = path.absolute()
    return OtherFolder(
        given=str(path), absolute=str(absolute), relative=Path(os.path.relpath(absolute, folder.absolute())).as_posix()
    )


def read_sources(folder: Path) -> Sources:
    """The sources of a folder that `safekeel attack` finished. No judge and no model is opened.

    Raises:
        DataError: a file is missing or malformed, the pack was changed, or a folder to compare with is gone.
    """
    recorded = _recorded(folder)
    verdicts = {(row.judge, row.judge_version) for row in read_jsonl(folder / VERDICTS, Verdict)}
    judges = _judges(recorded.judges, verdicts)
    return Sources(
        pack=read_pack(folder / PACK),
        judge=RoutedJudge({judge.name: judge for judge in judges}),
        sampling=_sampling(folder),
        base=tuple(other.find(folder) for other in recorded.base),
        transfer=tuple(other.find(folder) for other in recorded.transfer),
    )


def _judges(recorded: Sequence[RecordedJudge], verdicts: Iterable[tuple[str, str]]) -> list[RecordedJudge]:
    """Those that gave the verdicts, in the order in which they were recorded. `safekeel score` may have judged again
    since: of a judge or version that was not recorded, the card that ships is known, or none."""
    known = {(judge.name, judge.version): judge for judge in recorded}
    order = {key: place for place, key in enumerate(known)}
    found = sorted(verdicts, key=lambda key: (order.get(key, len(order)), key))
    return [known.get(key) or _unrecorded(*key) for key in found]


def _unrecorded(name: str, version: str) -> RecordedJudge:
    source: LabelSource | None = "construction" if name in _EXACT else None
    return RecordedJudge(name=name, version=version, label_source=source, card=packaged_card(name, version))


def _recorded(folder: Path) -> Recorded:
    content = read_json(folder / SOURCES)
    if content is None:
        return _from_page(folder)
    try:
        return Recorded.model_validate(content)
    except ValidationError as error:
        raise DataError(
            f"{folder / SOURCES}: {explain(error, Recorded.model_fields)}. Run the same `safekeel attack` command "
            "again; it writes the page, and asks for nothing that is there."
        ) from error


def _from_page(folder: Path) -> Recorded:
    """What `attack.json` tells of a folder that was written before there was a `sources.json`."""
    from safekeel.attack_run.report import ATTACK_JSON

    page = read_json(folder / ATTACK_JSON)
    found: Mapping[str, Any] = page if isinstance(page, dict) else {}
    models = (found.get("transfer") or {}).get("models") or []
    names = {"base": (found.get("base") or {}).get("folders") or [], "transfer": [row["folder"] for row in models]}
    others = {key: tuple(_other(Path(path), folder) for path in paths) for key, paths in names.items()}
    return Recorded(base=others["base"], transfer=others["transfer"])


def _sampling(folder: Path) -> Sampling:
    config = read_json(folder / CONFIG)
    try:
        return Sampling.model_validate((config or {})["sampling"])
    except (KeyError, AttributeError, TypeError, ValidationError) as error:
        raise DataError(
            f"{folder / CONFIG} does not say how the model was sampled; expected what `safekeel attack` wrote there. "
            "Run the same command again."
        ) from error
