"""Safetensors files written tensor after tensor, the index of a sharded model, and a full disk said in a sentence."""

from __future__ import annotations

import errno
import json
import math
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from safekeel.errors import DataError
from safekeel.files import atomic_write_json
from safekeel.train.shards import INDEX, ITEM_BYTES

_ALIGNMENT = 8  # of the data, as the safetensors library writes it
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class ShardWriter:
    """One safetensors file, tensor after tensor in the order of its header.

    Args:
        tensors: name -> (dtype, shape), in the order in which their bytes will come.
    """

    def __init__(self, file: Path, tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        end = 0
        for name, (dtype, shape) in tensors.items():
            first, end = end, end + ITEM_BYTES[dtype] * math.prod(shape)
            header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [first, end]}
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % _ALIGNMENT)
        self.file, self.num_bytes, self.written = file, end, 0
        with no_space(file):
            self._stream = file.open("wb", buffering=0)
            self._write(struct.pack("<Q", len(text)) + text)

    def add(self, block: memoryview) -> None:
        """Append bytes.

        Raises:
            DataError: the disk is full.
        """
        with no_space(self.file):
            self._write(block)
        self.written += len(block)

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Flush to the disk; a file that was not finished is only closed.

        Raises:
            DataError: the disk is full.
        """
        if error is not None:
            self._stream.close()
            return
        if self.written != self.num_bytes:
            raise RuntimeError(f"{self.file}: {self.written} bytes were written, the header has {self.num_bytes}")
        with no_space(self.file):
            os.fsync(self._stream.fileno())
            self._stream.close()

    def _write(self, block: bytes | memoryview) -> None:
        done, view = 0, memoryview(block)
        while done < len(view):
            done += self._stream.write(view[done:]) or 0


@contextmanager
def no_space(path: Path) -> Iterator[None]:
    """Turn a full disk (or quota, or file size limit) into a sentence.

    Raises:
        DataError: the block ran out of room.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_SPACE:
            raise
        raise DataError(
            f"{path} cannot be written: {error.strerror}. Nothing of the model was kept; free some room, or name a "
            "folder on another disk with --out."
        ) from error


def write_index(folder: Path, files: Mapping[str, str], num_bytes: int) -> None:
    """`model.safetensors.index.json` of a sharded model. `files`: tensor name -> file name."""
    with no_space(folder):
        atomic_write_json(
            folder / INDEX, {"metadata": {"total_size": num_bytes}, "weight_map": dict(sorted(files.items()))}
        )
