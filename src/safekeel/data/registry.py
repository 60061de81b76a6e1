"""The public data sets SafeKeel knows (`sources.toml`): where each file comes from, what its bytes must be, what its
licence allows.

SafeKeel ships none of these files. A data folder holds them as `<folder>/<file>`, whoever put them there.
"""

from __future__ import annotations

import csv
import hashlib
import json
import tomllib
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from safekeel.errors import DataError, UsageError, explain, nearest
from safekeel.files import sha256_file

LOCK_FILE = "safekeel-data.lock.json"
"""Beside the data: hashes of downloaded files that have no pinned one."""
State = Literal["here", "excerpt", "unpinned", "changed", "missing"]
SafePath = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+-]*(/[A-Za-z0-9_][A-Za-z0-9_.+-]*)*$")]
"""Relative, and no part begins with a dot: nothing is ever written outside the data folder."""
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Sha1 = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataFile(_Entry):
    """One file: `path` in its repository becomes `file` in the set's folder."""

    file: SafePath
    path: SafePath
    member: SafePath | None = None
    """Where `path` is a zip archive: the file inside it."""
    num_bytes: int | None = None
    sha256: Sha256 | None = None
    git_blob: Sha1 | None = None
    """The id in the commit's tree, where the bytes could not be copied here; it pins them all the same."""
    repository: str | None = None
    commit: Sha1 | None = None
    """Where these differ from the set's."""
    excerpt: SafePath | None = None
    """A local stand-in with the first rows of the file, and its own hash."""
    excerpt_sha256: Sha256 | None = None

    @property
    def verified(self) -> bool:
        """Whether a hash is pinned, so that wrong bytes are noticed."""
        return self.sha256 is not None or self.git_blob is not None

    def matches(self, path: Path) -> bool:
        """Whether the file at `path` has the pinned hash (True where none is pinned)."""
        if self.sha256 is not None:
            return sha256_file(path) == self.sha256
        return self.git_blob is None or git_blob_id(path) == self.git_blob


class DataSet(_Entry):
    """One public set; the fields are explained at the head of `sources.toml`."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    title: Annotated[str, Field(min_length=1)]
    languages: Annotated[tuple[Literal["zh", "en"], ...], Field(min_length=1)]
    licence: Annotated[str, Field(min_length=1)]
    training_allowed: bool
    role: Literal["safety", "labels", "capability", "corpus"]
    citation: Annotated[str, Field(min_length=1)]
    homepage: Annotated[str, Field(pattern=r"^https://")]
    folder: SafePath
    rows: int | None = None
    repository: str | None = None
    commit: Sha1 | None = None
    huggingface: str | None = None
    revision: str | None = None
    gated: bool = False
    """The hub wants an account that accepted the terms; its token is read from HF_TOKEN."""
    listing: SafePath | None = None
    archive_sha256: Sha256 | None = None
    note: str = ""
    files: Annotated[tuple[DataFile, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _has_a_source(self) -> DataSet:
        git, hub = self.repository and self.commit, self.huggingface and self.revision
        if bool(git) == bool(hub):
            raise ValueError("expected either repository and commit, or huggingface and revision.")
        return self

    @property
    def verified(self) -> bool:
        """Whether every file has a pinned hash."""
        return all(file.verified for file in self.files)

    def local(self, file: DataFile, root: Path) -> Path:
        """Where the file lies in the data folder `root`."""
        return root / self.folder / file.file

    def source(self, file: DataFile) -> str:
        """Where the file comes from, for people: repository and commit (first 12 digits), or hub and revision."""
        if self.huggingface:
            return f"huggingface.co/datasets/{self.huggingface} @{self.revision}"
        return f"github.com/{file.repository or self.repository} @{(file.commit or self.commit or '')[:12]}"


@dataclass(frozen=True)
class SetState:
    """What a data folder holds of a set: the state of each file, by its local path relative to the folder."""

    data_set: DataSet
    files: dict[str, State]

    @cached_property
    def summary(self) -> str:
        """`changed` where any file is; else the common state, or `partly`."""
        found = set(self.files.values())
        if "changed" in found:
            return "changed"
        if "missing" in found:
            return "missing" if found == {"missing"} else "partly"
        return next((state for state in ("unpinned", "excerpt") if state in found), "here")

    @property
    def complete(self) -> bool:
        """Whether every file is there as pinned; an excerpt does not stand for its file."""
        return set(self.files.values()) <= {"here"}


@cache
def load_registry() -> tuple[DataSet, ...]:
    """All sets, in the order of `sources.toml`.

    Raises:
        DataError: the file is malformed, or two files share a local path.
    """
    folder = resources.files("safekeel.data")
    return parse_registry((folder / "sources.toml").read_text("utf-8"), Path(str(folder / "listings")))


def parse_registry(text: str, listings: Path) -> tuple[DataSet, ...]:
    """Parse and check the TOML text of a registry; `listings` holds its tables of many files.

    Raises:
        DataError: as `load_registry`.
    """
    try:
        entries = tomllib.loads(text)["set"]
        sets = tuple(DataSet.model_validate(_with_listing(entry, listings)) for entry in entries)
    except (tomllib.TOMLDecodeError, KeyError) as error:
        raise DataError(f"sources.toml: expected TOML with [[set]] tables ({error}). Correct the file.") from error
    except ValidationError as error:
        raise DataError(f"sources.toml: {explain(error, DataSet.model_fields)}") from error
    names = [data_set.name for data_set in sets]
    paths = [f"{data_set.folder}/{file.file}" for data_set in sets for file in data_set.files]
    for what, values in (("name", names), ("local path", paths)):
        if twice := sorted({value for value in values if values.count(value) > 1}):
            raise DataError(f"sources.toml: the {what} {twice[0]!r} occurs twice, expected unique ones.")
    return sets


def find_set(name: str) -> DataSet:
    """The set of that name.

    Raises:
        UsageError: there is none; the nearest name is offered.
    """
    known = {data_set.name: data_set for data_set in load_registry()}
    if name not in known:
        raise UsageError(f"No data set {name!r}.{nearest(name, known)} `safekeel data list` shows all {len(known)}.")
    return known[name]


def set_of(folder: str, file: str) -> DataSet | None:
    """The set that a local file `<folder>/<file>` belongs to."""
    return next(
        (found for found in load_registry() if found.folder == folder and any(file == f.file for f in found.files)),
        None,
    )


def state_of(data_set: DataSet, root: Path) -> SetState:
    """Compare the files under `root` with the pinned hashes, or with the lock file where none is pinned."""
    locked = read_lock(root)
    return SetState(
        data_set, {f"{data_set.folder}/{f.file}": _state(data_set, f, root, locked) for f in data_set.files}
    )


def _state(data_set: DataSet, file: DataFile, root: Path, locked: dict[str, Any]) -> State:
    path = data_set.local(file, root)
    if path.is_file():
        if not file.verified:
            entry = locked.get(f"{data_set.folder}/{file.file}")
            return "unpinned" if entry is None else "here" if entry["sha256"] == sha256_file(path) else "changed"
        return "here" if file.matches(path) else "changed"
    if file.excerpt and (part := root / data_set.folder / file.excerpt).is_file():
        return "excerpt" if sha256_file(part) == file.excerpt_sha256 else "changed"
    return "missing"


def read_lock(root: Path) -> dict[str, Any]:
    """The lock file of a data folder: local path -> url, sha256, num_bytes, fetched; empty where there is none.

    Raises:
        DataError: it is malformed.
    """
    path = root / LOCK_FILE
    if not path.is_file():
        return {}
    try:
        lock = json.loads(path.read_text("utf-8"))
        if all("sha256" in entry for entry in lock.values()):
            return dict(lock)
    except (ValueError, AttributeError, TypeError):
        pass
    raise DataError(f"{path} is no lock file of SafeKeel. Delete it; the files it vouched for then count as unpinned.")


def git_blob_id(path: Path) -> str:
    """The SHA-1 by which git names a file's content: of `blob <size>`, a zero byte and the content."""
    total = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            total.update(chunk)
    return total.hexdigest()


def _with_listing(entry: dict[str, Any], listings: Path) -> dict[str, Any]:
    """The entry with the rows of its listing as files; empty cells are left out."""
    if "listing" not in entry:
        return entry
    with (listings / entry["listing"]).open(encoding="utf-8", newline="") as file:
        rows = [{key: cell for key, cell in row.items() if cell} for row in csv.DictReader(file, delimiter="\t")]
    return entry | {"files": rows}
