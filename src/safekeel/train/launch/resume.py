"""Checkpoints of a sharded run: a Hugging Face folder for everybody else, and the shards to continue from.

    checkpoint-N/  model.safetensors …   complete.json (last)
    state-N/       float32 weights and optimizer as each process holds them (torch.distributed.checkpoint)

The state lies beside the model, not in it, because selection copies model folders. It can be read by another number of
processes than wrote it. Only the newest complete one is kept: it is three times the size of the model in float32.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

from safekeel.artifact import atomic_write_json
from safekeel.train.checkpoints import MARKER, complete_checkpoints, discard_incomplete, step_of
from safekeel.train.launch.fsdp2 import save_model
from safekeel.train.launch.loss import ModelWithLoss
from safekeel.train.lora import LoraSettings


def save(
    module: ModelWithLoss,
    optimizer: Any,
    tokenizer: Any,
    model_dir: Path,
    folder: Path,
    step: int,
    lora: LoraSettings | None = None,
) -> None:
    """Write both parts of step `step`; every process has to call it."""
    save_model(module, tokenizer, model_dir, folder / f"checkpoint-{step}", lora)
    weights, moments = get_state_dict(module, optimizer)
    state = folder / f"state-{step}"
    dcp.save({"model": weights, "optimizer": moments}, checkpoint_id=state)
    dist.barrier()
    if dist.get_rank() == 0:
        atomic_write_json(folder / f"checkpoint-{step}" / MARKER, {"step": step})
        for other in folder.glob("state-*"):
            if other != state:
                shutil.rmtree(other)


def prepare(folder: Path) -> int:
    """Delete what a kill left half-written, and give the step to continue from (0: from the beginning). The launcher
    calls it, before there are several processes."""
    discard_incomplete(folder)
    done = [path for path in complete_checkpoints(folder) if (folder / f"state-{step_of(path)}").is_dir()]
    resumed = step_of(done[-1]) if done else 0
    for path in folder.glob("state-*"):
        if path.name != f"state-{resumed}":
            shutil.rmtree(path)
    for path in complete_checkpoints(folder):  # without its state a later one cannot be continued
        if step_of(path) > resumed:
            shutil.rmtree(path)
    return resumed


def restore(module: ModelWithLoss, optimizer: Any, folder: Path, step: int) -> None:
    """Read the shards of `step` into model and optimizer; every process has to call it."""
    weights, moments = get_state_dict(module, optimizer)
    dcp.load({"model": weights, "optimizer": moments}, checkpoint_id=folder / f"state-{step}")
    set_state_dict(module, optimizer, model_state_dict=weights, optim_state_dict=moments)


def drop_state(folder: Path) -> None:
    """The run is over: nothing continues from it."""
    for path in folder.glob("state-*"):
        shutil.rmtree(path)
