"""Files that are whole or absent, and hashes of files and data."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from safekeel.errors import UsageError

LOCK, HOLDER = ".run.lock", ".run.lock.json"
"""Of `artifact.run_lock`; they are no content: hashes and clean-ups leave them alone."""
LOCK_FILES = frozenset({LOCK, HOLDER})
PARTIAL_PATTERN = ".*.partial"
"""What a kill leaves of an atomic write; `Stage.begin` removes it."""
_CHUNK_BYTES = 1 << 20


def make_folder(path: Path) -> None:
    """Make a folder and its parents; an existing one is fine.

    Raises:
        UsageError: the system refuses (a file of that name, no permission).
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{path} cannot be made a folder ({error.strerror}); name another with --out.") from error


@contextmanager
def atomic_open(path: Path) -> Iterator[IO[bytes]]:
    """A binary file to write: it replaces `path` when the block ends well, and leaves `path` alone when it does not.

    The parent folder must exist.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def atomic_write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically (`atomic_open`)."""
    with atomic_open(Path(path)) as file:
        file.write(text.encode())


def atomic_write_json(path: Path, obj: object) -> None:
    """Write indented JSON atomically; NaN is a ValueError, because JSON has none."""
    atomic_write_text(path, json.dumps(obj, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The JSON in a file, or None where there is no file or it is malformed (as after a crash of the machine)."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def files_under(folder: Path) -> list[Path]:
    """All files below a folder, sorted by relative path; links to files count, lock files do not."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.name not in LOCK_FILES)
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def sha256_file(path: Path) -> str:
    """SHA-256 of a file; of a folder: of the relative paths and hashes of its files (`files_under`)."""
    path = Path(path)
    if path.is_dir():
        lines = [f"{file.relative_to(path).as_posix()}\0{sha256_file(file)}\n" for file in files_under(path)]
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    total = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            total.update(chunk)
    return total.hexdigest()


def digest(obj: object) -> str:
    """SHA-256 of the canonical JSON of plain data: key order and spacing do not matter.

    Raises:
        TypeError, ValueError: the data is not plain JSON (a Path, a set, NaN).
    """
    text = json.dumps(obj, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
