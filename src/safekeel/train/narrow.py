"""Finished checkpoints in the number format of the model that training started from.

A full run trains float32 master weights, and a checkpoint to continue from must hold them. Once the run is over,
float32 copies of a bfloat16 base would be twice as large, load as float32 in every engine, and be compared before and
after at two precisions.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from safekeel.artifact import atomic_write_json

INDEX = "model.safetensors.index.json"


def stored_dtype(model_dir: Path) -> torch.dtype:
    """The number format that a model folder declares; float32 where it declares none."""
    config = json.loads((model_dir / "config.json").read_text("utf-8"))
    name = config.get("dtype") or config.get("torch_dtype") or "float32"
    found = getattr(torch, str(name).removeprefix("torch."), torch.float32)
    return found if isinstance(found, torch.dtype) else torch.float32


def narrow(folder: Path, dtype: torch.dtype) -> None:
    """Round the weights of a checkpoint to `dtype`, one file at a time; nothing is done where they are so already.

    Each file is replaced whole, so that a kill leaves a folder that the next call finishes.
    """
    if stored_dtype(folder) == dtype:
        return
    total = 0
    for path in sorted(folder.glob("model*.safetensors")):
        weights = {
            name: weight.to(dtype) if weight.is_floating_point() else weight for name, weight in load_file(path).items()
        }
        total += sum(weight.numel() * weight.element_size() for weight in weights.values())
        partial = path.with_suffix(".safetensors.partial")
        save_file(weights, partial, metadata={"format": "pt"})
        os.replace(partial, path)
    if (folder / INDEX).is_file():
        index = json.loads((folder / INDEX).read_text("utf-8"))
        index.setdefault("metadata", {})["total_size"] = total
        atomic_write_json(folder / INDEX, index)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config.pop("torch_dtype", None)
    atomic_write_json(folder / "config.json", config | {"dtype": str(dtype).removeprefix("torch.")})
