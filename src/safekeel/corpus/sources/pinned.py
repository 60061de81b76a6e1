"""Local copies of public files, checked against the registry before a row is read."""

from __future__ import annotations

import os
from pathlib import Path

from safekeel.bench.base import DATA_VARIABLE, find_data
from safekeel.data.registry import DataFile, DataSet, read_lock
from safekeel.errors import DataError
from safekeel.files import sha256_file


def checked_path(data_set: DataSet, file: DataFile, data_dir: Path | None) -> tuple[Path, str]:
    """The local copy of a file, and a note about it ("" where its bytes are the pinned ones).

    Raises:
        DataError: it is missing (says how to get it), or its bytes are not those the registry pins, nor an excerpt
            that the registry knows.
    """
    root = data_root(data_dir)
    if root is not None and not data_set.local(file, root).is_file() and file.excerpt:
        part = root / data_set.folder / file.excerpt
        if part.is_file():
            if sha256_file(part) != file.excerpt_sha256:
                raise _changed(part, data_set, f"sha256 {sha256_file(part)}, expected {file.excerpt_sha256}")
            return part, f"{file.excerpt}: an excerpt of {file.file}"
    path = find_data(data_set.folder, file.file, data_set.homepage, data_dir)
    if file.verified:
        if not file.matches(path):
            expected = f"sha256 {file.sha256}" if file.sha256 else f"git blob {file.git_blob}"
            raise _changed(path, data_set, f"sha256 {sha256_file(path)}, expected {expected}")
        return path, ""
    known = read_lock(root or path.parent).get(f"{data_set.folder}/{file.file}")
    if known is None:
        return path, f"{file.file}: no hash is pinned; read as it is (sha256 {sha256_file(path)})"
    if known["sha256"] != sha256_file(path):
        raise _changed(path, data_set, f"sha256 {sha256_file(path)}, downloaded as {known['sha256']}")
    return path, ""


def data_root(data_dir: Path | None) -> Path | None:
    """The folder of public data: as given, or SAFEKEEL_DATA."""
    value = os.environ.get(DATA_VARIABLE)
    return data_dir or (Path(value) if value else None)


def _changed(path: Path, data_set: DataSet, what: str) -> DataError:
    return DataError(
        f"{path} is not the file of {data_set.name} ({what}). Get it again: `safekeel data fetch {data_set.name}`; or "
        "name it as your own file (sources.files), which is not compared."
    )
