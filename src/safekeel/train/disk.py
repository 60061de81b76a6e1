"""A disk that is too small or full, said in a sentence: before training where it can be known, else when it happens."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safekeel.errors import DataError, SafeKeelError

ELSEWHERE = "Nothing of the model was kept; free some room, or name a folder on another disk with --out."
CONTINUE = (
    "Free some space, then run the same command again: training continues from its last complete checkpoint, or from "
    "the start where there is none."
)
_NUMBERS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_WORDS = ("No space left on device", "Disk quota exceeded", "File too large")
"""Libraries written in Rust and C++ (safetensors, torch.save) pass on the system's words without its number."""
_GIB = 2**30


def is_disk_full(error: BaseException) -> bool:
    """Whether a write failed for want of room: disk, quota or file size limit."""
    return getattr(error, "errno", None) in _NUMBERS or any(words in str(error) for words in _WORDS)


@contextmanager
def no_space(path: Path, advice: str = ELSEWHERE) -> Iterator[None]:
    """Turn a full disk into a sentence.

    Raises:
        DataError: the block ran out of room.
    """
    try:
        yield
    except SafeKeelError:  # said already
        raise
    except Exception as error:
        if not is_disk_full(error):
            raise
        what = getattr(error, "strerror", None) or error
        raise DataError(f"{path} cannot be written: {what}. {advice}") from error


def require_room(folder: Path, num_bytes: int, num_checkpoints: int = 1) -> None:
    """Refuse to begin what the disk cannot hold.

    Args:
        folder: where it is to be written; the nearest existing parent tells the disk.
        num_bytes: of all `num_checkpoints`.

    Raises:
        DataError: less than `num_bytes` is free.
    """
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free >= num_bytes:
        return
    several = num_checkpoints > 1
    what = f"the {num_checkpoints} checkpoints to come need" if several else "a checkpoint needs"
    raise DataError(
        f"{folder} has {_size(free)} left and {what} up to {_size(num_bytes)}. {CONTINUE}"
        + (" Fewer checkpoints (num_checkpoints) need less." if several else "")
    )


def _size(num_bytes: int) -> str:
    return f"{num_bytes / _GIB:.1f} GiB" if num_bytes >= _GIB / 10 else f"{num_bytes / 2**20:.0f} MiB"
