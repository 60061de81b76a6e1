"""Stage `merge`: a model between a base and what was trained from it, or with task vectors added, as a folder on disk.

    OUT/model/   config, tokenizer and chat template of the tuned model, weights in its shards      (or absent)
    OUT/config.json  OUT/manifest.json                                       as of every stage, the manifest last

The model folder appears by a rename when its last byte is on the disk: killed or out of space, there is no half model.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pydantic import Field

from safekeel.artifact import Stage, atomic_write_json
from safekeel.config import StageConfig
from safekeel.errors import DataError, UsageError, nearest
from safekeel.progress import Progress
from safekeel.train.adapter import Adapter, AdapterChange, is_adapter
from safekeel.train.disk import no_space
from safekeel.train.interpolate import (
    Change,
    Difference,
    Line,
    Mix,
    Scratch,
    Steps,
    blocks_of,
    check_alpha,
)
from safekeel.train.shard_writer import ShardWriter, write_index
from safekeel.train.shards import FLOATS, ITEM_BYTES, SINGLE, Checkpoint

STAGE, VERSION = "merge", "1"
MODEL = "model"
WORKERS = 2
"""Threads: one computes while the other reads or writes. Each holds a few blocks."""
DTYPES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
CONFIG_FILES = ("config.json", "generation_config.json")
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "merges.txt", "vocab.txt", "*.model", "*.tiktoken", "*.jinja", "chat_template.json", "additional_chat_templates",
)  # fmt: skip
"""What belongs to a tokenizer. No `*.py`: remote code is never run, so it is not passed on either."""


class MergeConfig(StageConfig):
    """What to make. Without deltas: `alpha` of the way from the base to the tuned model."""

    alpha: float = Field(1.0, ge=0, le=1)
    delta_weights: tuple[float, ...] = ()
    """Of task vectors safe - unsafe that are added to the tuned model."""
    dtype: str | None = None
    """How the new model's floats are stored (a name of `DTYPES`); None = as the tuned model's (LoRA: the base's)."""


class Delta(StageConfig):
    """A task vector: `weight * (safe - unsafe)`."""

    weight: float
    safe: Path
    unsafe: Path


@contextmanager
def opened(base: Path | None, tuned: Path, alpha: float, deltas: Sequence[Delta] = ()) -> Iterator[Mix]:
    """The mix of models in folders, checked before anything is computed; files are closed at the end.

    Args:
        base: needed unless alpha is 1 and `tuned` holds a model of its own.
        tuned: a model folder, or a LoRA adapter on `base`.

    Raises:
        UsageError: alpha outside [0, 1], a base that is needed and not named, or deltas beside an adapter or an alpha.
        DataError: a damaged or incomplete folder, or models that are not of one architecture.
    """
    check_alpha(alpha)
    if base is None and (alpha != 1 or is_adapter(tuned)):
        raise UsageError(f"{tuned} at alpha {alpha:g} needs its base model: name it with --base.")
    if deltas and (alpha != 1 or is_adapter(tuned)):
        raise UsageError(
            "task vectors are added to a whole model at alpha 1; merge first, then add them to the result."
        )
    with ExitStack() as stack:
        mix = _mix(base, tuned, alpha, deltas)
        for checkpoint in mix.checkpoints():
            stack.enter_context(checkpoint)
        yield mix


def _mix(base: Path | None, tuned: Path, alpha: float, deltas: Sequence[Delta]) -> Mix:
    if is_adapter(tuned):
        assert base is not None
        start = Checkpoint.open(base)
        return Steps(start, [(alpha, AdapterChange(start, Adapter(tuned)))])
    layout = Checkpoint.open(tuned)
    if deltas:
        changes: list[tuple[float, Change]] = [
            (delta.weight, Difference(layout, Checkpoint.open(delta.safe), Checkpoint.open(delta.unsafe)))
            for delta in deltas
        ]
        return Steps(layout, changes)
    return Line(Checkpoint.open(base), layout, alpha) if base is not None else Steps(layout, [])


def run(
    config: MergeConfig, stage: Stage, base: Path | None, tuned: Path, deltas: Sequence[Delta], progress: Progress
) -> Path:
    """Fill the stage folder; returns the model's.

    Raises:
        UsageError, DataError: see `opened` and `write_model`; the stage folder then holds no model.
    """
    with opened(base, tuned, config.alpha, deltas) as mix:
        check_room(mix, stage.dir, config.dtype)
        stage.begin()
        warnings = write_model(mix, base, tuned, stage.dir / MODEL, config.dtype, progress)
    stage.finish([stage.dir / MODEL], {"tensors": len(mix.layout.tensors), "bytes": _size(mix, config.dtype)}, warnings)
    return stage.dir / MODEL


def write_model(
    mix: Mix, base: Path | None, tuned: Path, folder: Path, dtype: str | None = None, progress: Progress | None = None
) -> list[str]:
    """Write a model folder; it replaces `folder` in one step when it is complete.

    Args:
        base: where a missing tokenizer, and a LoRA model's configuration, are taken from.

    Returns:
        Notes for the manifest.

    Raises:
        UsageError: no such dtype.
        DataError: the disk is full, or the result would hold NaN; `folder` is then as it was.
    """
    check_room(mix, folder.parent, dtype)
    partial = folder.with_name(f".{folder.name}.writing")
    shutil.rmtree(partial, ignore_errors=True)  # what a kill has left
    try:
        with no_space(folder):
            partial.mkdir(parents=True)
            notes = copy_settings(base, tuned, mix.layout, partial, dtype)
        _write_weights(mix, partial, dtype, _told(progress, folder.name, _size(mix, dtype)))
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return notes


def _write_weights(mix: Mix, folder: Path, dtype: str | None, told: Callable[[int], None]) -> None:
    shards, place, local = mix.layout.shards(), dict[str, str](), threading.local()

    def write(writer: ShardWriter, name: str, kept: str) -> int:
        if not hasattr(local, "scratch"):
            local.scratch = Scratch()
        done = 0
        for block in blocks_of(mix, name, kept, local.scratch):
            writer.write(name, done, block)
            done += len(block)
        return done

    with ThreadPoolExecutor(WORKERS, thread_name_prefix="merge") as pool:
        closing: list[Future[None]] = []
        for file, names in shards.items():
            kept = {name: _kept(mix, name, stored_as(dtype)) for name in names}
            tensors = {name: (kept[name], mix.layout.tensors[name].shape) for name in names}
            writer = ShardWriter(folder / file.name, tensors)
            try:
                for done in as_completed([pool.submit(write, writer, name, kept[name]) for name in names]):
                    told(done.result())
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                writer.close(is_complete=False)
                raise
            closing.append(pool.submit(writer.close))
            place |= dict.fromkeys(names, file.name)
        for closed in closing:
            closed.result()
    if list(shards) != [mix.layout.folder / SINGLE]:
        write_index(folder, place, _size(mix, dtype))


def copy_settings(base: Path | None, tuned: Path, layout: Checkpoint, folder: Path, dtype: str | None) -> list[str]:
    """Configuration, tokenizer and chat template; what was not found where is returned as notes."""
    notes = []
    for name in CONFIG_FILES:
        if (layout.folder / name).is_file():
            shutil.copyfile(layout.folder / name, folder / name)
    if dtype is not None:
        config = {key: value for key, value in layout.config.items() if key != "torch_dtype"} | {"dtype": dtype}
        atomic_write_json(folder / "config.json", config)
    owner = tuned if (tuned / "tokenizer_config.json").is_file() else base or tuned
    if owner != tuned:
        notes.append(f"{tuned} holds no tokenizer; the base's was copied")
    found = [path for pattern in TOKENIZER_FILES for path in sorted(owner.glob(pattern))]
    for path in found:
        if path.is_dir():
            shutil.copytree(path, folder / path.name)
        else:
            shutil.copyfile(path, folder / path.name)
    if not found:
        notes.append("no tokenizer was found in either folder: add one before the model is used")
    return notes


def check_room(mix: Mix, folder: Path, dtype: str | None) -> None:
    """Raise a DataError where the disk has no room for the new model."""
    existing = next(path for path in (folder, *folder.resolve().parents) if path.exists())
    needed, free = _size(mix, dtype), shutil.disk_usage(existing).free
    if needed > free:
        raise DataError(
            f"{folder} has room for {free / 2**30:.1f} GiB, the model needs {needed / 2**30:.1f}; free some, or name a "
            "folder on another disk with --out."
        )


def stored_as(dtype: str | None) -> str | None:
    """The safetensors name of a dtype.

    Raises:
        UsageError: there is none of that name.
    """
    if dtype is not None and dtype not in DTYPES:
        raise UsageError(f"--dtype {dtype!r}: expected {', '.join(DTYPES)}.{nearest(dtype, DTYPES)}")
    return DTYPES[dtype] if dtype is not None else None


def _kept(mix: Mix, name: str, dtype: str | None) -> str:
    stored = mix.layout.tensors[name].dtype
    return dtype if dtype is not None and stored in FLOATS else stored


def _size(mix: Mix, dtype: str | None) -> int:
    """Bytes of the new model's tensors."""
    kept = stored_as(dtype)
    return sum(ITEM_BYTES[_kept(mix, name, kept)] * info.num_elements for name, info in mix.layout.tensors.items())


def _told(progress: Progress | None, name: str, total: int) -> Callable[[int], None]:
    """Counts bytes and reports them in MiB."""
    done = 0

    def count(num_bytes: int) -> None:
        nonlocal done
        done += num_bytes
        if progress is not None:
            progress(f"merge {name} (MiB)", done >> 20, max(1, total >> 20))

    return count
