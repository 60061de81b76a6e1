"""Safetensors files written tensor by tensor, and the index of a sharded model."""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safekeel.files import atomic_write_json
from safekeel.train.disk import is_disk_full, no_space
from safekeel.train.shards import INDEX, ITEM_BYTES

_ALIGNMENT = 8  # of the data, as the safetensors library writes it


class ShardWriter:
    """One safetensors file whose tensors may be written in any order and by several threads.

    Its room is taken at once: a disk that is too small is known before the first tensor, and writing is faster.

    Args:
        tensors: name -> (dtype, shape), in the order of their bytes.

    Raises:
        DataError: the disk is full.
    """

    def __init__(self, file: Path, tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        self.file, self._starts, end = file, dict[str, int](), 0
        for name, (dtype, shape) in tensors.items():
            first, end = end, end + ITEM_BYTES[dtype] * math.prod(shape)
            self._starts[name] = first
            header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [first, end]}
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % _ALIGNMENT)
        self._data = 8 + len(text)
        with no_space(file):
            self._handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            try:
                _take_room(self._handle, self._data + end)
                self._put(struct.pack("<Q", len(text)) + text, 0)
            except OSError:
                os.close(self._handle)
                raise

    def write(self, name: str, first: int, block: memoryview) -> None:
        """Put bytes of a tensor at its byte `first`.

        Raises:
            DataError: the disk is full.
        """
        with no_space(self.file):
            self._put(block, self._data + self._starts[name] + first)

    def close(self, is_complete: bool = True) -> None:
        """Flush to the disk where the file is worth it.

        Raises:
            DataError: the disk is full.
        """
        with no_space(self.file):
            try:
                if is_complete:
                    os.fsync(self._handle)
            finally:
                os.close(self._handle)

    def _put(self, block: bytes | memoryview, place: int) -> None:
        done, view = 0, memoryview(block)
        while done < len(view):
            done += os.pwrite(self._handle, view[done:], place + done)


def _take_room(handle: int, num_bytes: int) -> None:
    try:
        os.posix_fallocate(handle, 0, num_bytes)
    except AttributeError:  # no such call on macOS
        os.truncate(handle, num_bytes)
    except OSError as error:
        if is_disk_full(error):
            raise
        os.truncate(handle, num_bytes)  # a file system that cannot


def write_index(folder: Path, files: Mapping[str, str], num_bytes: int) -> None:
    """`model.safetensors.index.json` of a sharded model. `files`: tensor name -> file name."""
    with no_space(folder):
        atomic_write_json(
            folder / INDEX, {"metadata": {"total_size": num_bytes}, "weight_map": dict(sorted(files.items()))}
        )
