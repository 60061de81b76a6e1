"""LoRA on a sharded model: adapters that start the same on any number of processes, and merged checkpoints.

Which matrices get one is `train/lora.py`'s decision. PEFT's own merging cannot be used: no process holds a whole
matrix.
"""

from __future__ import annotations

import math
import zlib
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from safekeel.train.lora import LoraSettings, peft_config

_NAME = "default"  # PEFT's for the only adapter
_A, _B = f".lora_A.{_NAME}.weight", f".lora_B.{_NAME}.weight"


def add_adapters(model: Any, settings: LoraSettings) -> None:
    """Put adapters without storage into a model without storage, and freeze everything else."""
    from peft import inject_adapter_in_model

    inject_adapter_in_model(peft_config(settings, model), model, low_cpu_mem_usage=True)


def is_adapter(name: str) -> bool:
    """Whether a parameter belongs to an adapter and is in no checkpoint of the base."""
    return name.endswith((_A, _B))


def base_name(name: str) -> str:
    """A parameter's name in the base's files."""
    return name.replace(".base_layer.", ".")


def start_adapter(name: str, parameter: DTensor, first_row: int, seed: int) -> None:
    """PEFT's start: A uniform as in a linear layer (He et al., a = √5), B zero. The whole A is drawn on every process,
    from the seed and the name, and each keeps its rows."""
    own = parameter.to_local()
    if name.endswith(_B):
        own.zero_()
        return
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode()))
    bound = 1 / math.sqrt(parameter.shape[1])
    whole = torch.empty(tuple(parameter.shape)).uniform_(-bound, bound, generator=generator)
    own.copy_(whole[first_row : first_row + own.shape[0]])


def merged(weights: dict[str, Tensor], settings: LoraSettings) -> dict[str, Tensor]:
    """Whole weights with the adapters merged in, under the base's names: W + (alpha / rank) · B·A in float32."""
    result = {}
    for name, tensor in weights.items():
        if is_adapter(name):
            continue
        stem = name.removesuffix(".base_layer.weight")
        if f"{stem}{_A}" in weights:
            delta = weights[f"{stem}{_B}"].float() @ weights[f"{stem}{_A}"].float()
            tensor = tensor.float() + settings.alpha / settings.rank * delta
        result[base_name(name)] = tensor
    return result
