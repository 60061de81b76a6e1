"""The bytes of a user's file: plain, compressed, or one or several members of a zip archive, each with its format."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal, cast

from safekeel.errors import DataError, nearest

Format = Literal["jsonl", "json", "csv", "tsv", "txt", "parquet"]
FORMATS: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".txt": "txt",
    ".parquet": "parquet",
}
"""Name ending -> format."""
_COMPRESSED: dict[str, Callable[..., object]] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
_UNREADABLE = (OSError, EOFError, zipfile.BadZipFile, lzma.LZMAError, zlib.error)
"""What the standard library raises for a damaged or cut off file."""


@dataclass(frozen=True)
class Part:
    """One stream of rows; `open` may be called again, for what is read twice."""

    where: str
    """Path, or `path!member` inside an archive."""
    format: Format
    open: Callable[[], BinaryIO]


def parts_of(path: Path, format: Format | None = None) -> list[Part]:
    """The streams of a file: one, or the data files of a zip archive in its order.

    Args:
        format: of the content, where the name does not say it.

    Raises:
        DataError: no such file, a folder, an ending that names no format, or an archive without data files.
    """
    if path.is_dir():
        raise DataError(f"{path} is a folder, expected a file; name its files one by one.")
    if not path.is_file():
        near = nearest(path.name, [other.name for other in path.parent.glob("*")]) if path.parent.is_dir() else ""
        raise DataError(f"{path} does not exist.{near} Correct the path.")
    if path.suffix.lower() == ".zip":
        return _members(path, format)
    inner = path.with_suffix("") if path.suffix.lower() in _COMPRESSED else path
    found = format or FORMATS.get(inner.suffix.lower())
    if found is None:
        raise DataError(
            f"{path}: the ending {inner.suffix!r} names no format; expected one of {', '.join(FORMATS)} (also with "
            ".gz, .xz, .bz2, or inside .zip). Rename the file, or say ?format=jsonl."
        )
    opener = _COMPRESSED.get(path.suffix.lower(), open)
    return [Part(str(path), found, cast("Callable[[], BinaryIO]", partial(opener, path, "rb")))]


def _members(path: Path, format: Format | None) -> list[Part]:
    with readable(str(path)), zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if _is_data(name)]
    known = [(name, format or FORMATS.get(PurePosixPath(name).suffix.lower())) for name in names]
    parts = [Part(f"{path}!{name}", kind, partial(_open_member, path, name)) for name, kind in known if kind]
    if not parts:
        raise DataError(f"{path}: none of its {len(names)} files ends in {', '.join(FORMATS)}. Unpack the right one.")
    return parts


def _is_data(name: str) -> bool:
    """Folders, and what macOS adds (`__MACOSX/`, `.DS_Store`), are no data."""
    return not name.endswith("/") and not any(part.startswith((".", "__MACOSX")) for part in name.split("/"))


def _open_member(path: Path, name: str) -> BinaryIO:
    try:  # the member keeps the archive's file open for as long as it is read itself
        return cast(BinaryIO, zipfile.ZipFile(path).open(name))
    except (RuntimeError, NotImplementedError) as error:  # encrypted; a compression Python does not have
        raise OSError(str(error)) from error


@contextmanager
def readable(where: str) -> Iterator[None]:
    """Turns what a damaged, encrypted or forbidden file raises into a DataError that names it."""
    try:
        yield
    except _UNREADABLE as error:
        raise DataError(
            f"{where} cannot be read ({type(error).__name__}: {error}). Get it again, or unpack it yourself."
        ) from error
