"""Checkpoints as named tensors on disk: read block by block, in constant memory (`shard_writer.py` writes them).

A safetensors file is an 8-byte little-endian header length, a JSON header `{name: {dtype, shape, data_offsets}}` padded
with spaces, and the tensors' bytes (format description of huggingface/safetensors). Everything a header can be wrong
about is checked when a checkpoint is opened, before anything is computed.
"""

from __future__ import annotations

import json
import math
import os
import struct
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from safekeel.errors import DataError, shown

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
ITEM_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1,
    "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8,
}  # fmt: skip
FLOATS = ("F64", "F32", "F16", "BF16")
"""What can be averaged. 8-bit floats carry scales in tensors of their own: an average of them means nothing."""
MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors library itself


class TensorInfo(NamedTuple):
    """Where a tensor's bytes lie: `num_bytes` from byte `start` of `file`."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    num_bytes: int

    @property
    def num_elements(self) -> int:
        return math.prod(self.shape)


class Checkpoint:
    """The tensors of a model folder by name, in the order of their files and of their bytes in them.

    A context manager; `read`, which threads may share, keeps files open until the end of the block.
    """

    def __init__(self, folder: Path, tensors: Mapping[str, TensorInfo], config: dict[str, Any]) -> None:
        self.folder, self.tensors, self.config = Path(folder), dict(tensors), config
        self._open: dict[Path, int] = {}
        self._opening = threading.Lock()

    @classmethod
    def open(cls, folder: Path) -> Checkpoint:
        """A `save_pretrained` folder, of one file or sharded.

        Raises:
            DataError: no configuration, no safetensors, a shard that is missing, damaged or not what the index says.
        """
        folder = Path(folder)
        config = _json_object(folder / "config.json", "a model folder has one")
        tensors: dict[str, TensorInfo] = {}
        for file in _weight_files(folder):
            found = read_header(file)
            if twice := found.keys() & tensors.keys():
                raise DataError(
                    f"{file} repeats the tensor {min(twice)!r} of another shard; download or save it again."
                )
            tensors |= found
        _check_index(folder, tensors)
        return cls(folder, tensors, config)

    @property
    def num_bytes(self) -> int:
        return sum(info.num_bytes for info in self.tensors.values())

    def shards(self) -> dict[Path, list[str]]:
        """Tensor names by file."""
        files: dict[Path, list[str]] = {}
        for name, info in self.tensors.items():
            files.setdefault(info.file, []).append(name)
        return files

    def read(self, name: str, first: int, into: memoryview) -> None:
        """Fill `into` with the tensor's bytes from byte `first` on.

        Raises:
            DataError: the file ends early (it was changed since it was opened) or cannot be read.
        """
        info = self.tensors[name]
        with self._opening:
            if info.file not in self._open:
                self._open[info.file] = os.open(info.file, os.O_RDONLY)
        done = 0
        while done < len(into):
            try:
                got = os.preadv(self._open[info.file], [into[done:]], info.start + first + done)
            except OSError as error:
                raise DataError(
                    f"{info.file} cannot be read at {name!r} ({error.strerror}); check the disk."
                ) from error
            if not got:
                raise DataError(f"{info.file} ends within {name!r}: it was changed while it was read. Start again.")
            done += got

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._open:
            os.close(self._open.popitem()[1])


def read_header(file: Path) -> dict[str, TensorInfo]:
    """The tensors of one safetensors file, in the order of their bytes.

    Raises:
        DataError: it is missing, cut off, or its header does not describe it.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            prefix = stream.read(8)
            length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
            if not 2 <= length <= min(size - 8, MAX_HEADER_BYTES):
                raise _damaged(file, f"its header would have {length} bytes, the file has {size}")
            header = json.loads(stream.read(length))
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}); download or save the model again.") from error
    except ValueError as error:
        raise _damaged(file, f"its header is no JSON ({error})") from error
    if not isinstance(header, dict):
        raise _damaged(file, "its header is no JSON object")
    header.pop("__metadata__", None)
    return _infos(file, header, 8 + length, size)


def _infos(file: Path, header: dict[str, Any], data: int, size: int) -> dict[str, TensorInfo]:
    """Checked: the tensors' bytes follow each other without a gap, from the header to the end of the file."""
    found: dict[str, TensorInfo] = {}
    try:
        rows = sorted((*entry["data_offsets"], name, entry) for name, entry in header.items())
        end = 0
        for first, last, name, entry in rows:
            info = TensorInfo(file, entry["dtype"], tuple(map(int, entry["shape"])), data + first, last - first)
            if info.dtype not in ITEM_BYTES:
                raise _damaged(file, f"{name!r} has the type {info.dtype!r}; known: {', '.join(ITEM_BYTES)}")
            if first != end or info.num_bytes != ITEM_BYTES[info.dtype] * info.num_elements:
                raise _damaged(file, f"{name!r} of shape {list(info.shape)} {info.dtype} has bytes {first} to {last}")
            found[name], end = info, last
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(file, f"its header has an entry that cannot be read ({error!r})") from error
    if data + end != size:
        raise _damaged(file, f"its header describes {data + end} bytes, the file has {size}")
    return found


def _weight_files(folder: Path) -> list[Path]:
    """Where both are there, the single file counts, as in transformers."""
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    if (folder / INDEX).is_file():
        mapping = _json_object(folder / INDEX, "expected an index").get("weight_map")
        if not isinstance(mapping, dict) or not all(isinstance(name, str) for name in mapping.values()):
            raise DataError(f"{folder / INDEX} has no weight_map of file names; download or save the model again.")
        files = [folder / name for name in dict.fromkeys(mapping.values())]
        if missing := [file for file in files if not file.is_file()]:
            raise DataError(
                f"{missing[0]} is missing ({len(missing)} of {len(files)} shards that {INDEX} names); download or save "
                "the model again."
            )
        return files
    found = ", ".join(sorted(path.name for path in folder.glob("*.[bs]*") if path.suffix in (".bin", ".safetensors")))
    raise DataError(
        f"{folder} holds {found or 'no weights'}; expected {SINGLE}, or {INDEX} and its shards. Pickled weights can "
        "run code when loaded: convert them to safetensors first."
    )


def _check_index(folder: Path, tensors: Mapping[str, TensorInfo]) -> None:
    if (folder / SINGLE).is_file():
        return
    mapping = _json_object(folder / INDEX, "expected an index")["weight_map"]
    wrong = [name for name, file in mapping.items() if name not in tensors or tensors[name].file.name != file]
    if wrong or (wrong := [name for name in tensors if name not in mapping]):
        raise DataError(
            f"{folder / INDEX} and its shards disagree on {len(wrong)} tensors, such as {wrong[0]!r}; download or save "
            "the model again."
        )


def _json_object(path: Path, expected: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist; {expected}.") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); {expected}.") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds {shown(content)}, expected a JSON object.")
    return content


def _damaged(file: Path, why: str) -> DataError:
    return DataError(f"{file} is no safetensors file, or a damaged one: {why}. Download or save the model again.")
