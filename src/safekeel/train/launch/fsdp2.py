"""A causal language model spread over processes with PyTorch's own FSDP2 (`fully_shard`).

Native, because the Trainer's `fsdp=` is silently DistributedDataParallel on CPU (accelerate honours the plug-in for
some device types only), so that nothing here could have been tested. Each process builds the model without weights,
then reads its own rows of every tensor from the safetensors files: no process ever holds the whole model, and nothing
is broadcast. Master weights, gradients and optimizer are float32; forward and backward pass are in the device's format.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from huggingface_hub import save_torch_state_dict
from safetensors import safe_open
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from safekeel.errors import DataError, EngineError
from safekeel.train.launch.loss import ModelWithLoss
from safekeel.train.launch.memory import Activations
from safekeel.train.launch.offload import save_activations
from safekeel.train.launch.sharded_lora import add_adapters, base_name, is_adapter, merged, start_adapter
from safekeel.train.lora import LoraSettings

PREFIX = "model."  # of the names inside ModelWithLoss


@dataclass(frozen=True)
class Sharding:
    """Where and how a model is spread."""

    mesh: DeviceMesh
    device: torch.device
    """This process' own."""
    dtype: torch.dtype
    """Of the forward and backward pass."""
    activations: Activations = "keep"
    lora: LoraSettings | None = None
    seed: int = 0
    """Of the adapters' start."""


def sharded_model(model_dir: Path, how: Sharding) -> ModelWithLoss:
    """The model of a folder, sharded over the mesh, with its weights.

    Raises:
        DataError: a tensor is missing in the safetensors files or has another shape.
        EngineError: a layer was not sharded.
    """
    module = ModelWithLoss(empty_model(model_dir))
    if how.lora is not None:
        add_adapters(module.model, how.lora)
    layers = module.model.base_model.layers
    save_activations(layers, how.activations, pin_memory=how.device.type != "cpu")
    settings: dict[str, Any] = {"mesh": how.mesh}
    if how.dtype != torch.float32:
        settings["mp_policy"] = MixedPrecisionPolicy(param_dtype=how.dtype, reduce_dtype=torch.float32)
    for layer in layers:
        fully_shard(layer, **settings)
    fully_shard(module, **settings)
    require_sharded(module, layers)
    _materialise(module, how.device)
    load_own_rows(module.model, model_dir, how.seed)
    return module.train()


def empty_model(model_dir: Path) -> Any:
    """The architecture of a folder in float32, its parameters without storage and its buffers (the rotary frequencies,
    which no checkpoint holds) computed."""
    from accelerate import init_empty_weights  # type: ignore[import-untyped]
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(model_dir, local_files_only=True, trust_remote_code=False)
    config.use_cache = False
    with init_empty_weights(include_buffers=False):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="sdpa")
    model.tie_weights()
    return model


def require_sharded(module: nn.Module, layers: nn.ModuleList) -> None:
    """Raises EngineError unless the root and every layer are FSDP2 modules and every parameter is a DTensor."""
    unwrapped = [type(part).__name__ for part in (module, *layers) if not isinstance(part, FSDPModule)]
    whole = [name for name, parameter in module.named_parameters() if not isinstance(parameter, DTensor)]
    if unwrapped or whole:
        raise EngineError(f"FSDP2 did not shard {(unwrapped or whole)[0]}; this PyTorch is not supported (needs 2.6).")


def load_own_rows(model: Any, model_dir: Path, seed: int) -> None:
    """Fill a sharded model from safetensors; each process reads the rows it owns and nothing else. Adapters start from
    the seed.

    Raises:
        DataError: a tensor is missing or has another shape.
    """
    files = tensor_files(model_dir)
    with torch.no_grad():
        for name, parameter in model.named_parameters():  # a tied head is listed once, under the embedding's name
            start = first_row(parameter)
            if is_adapter(name):
                start_adapter(name, parameter, start, seed)
                continue
            stored = base_name(name)
            if stored not in files:
                raise DataError(f"{model_dir} holds no tensor {stored!r}; expected the weights of its own config.json.")
            rows = files[stored].get_slice(stored)
            found, expected = tuple(rows.get_shape()), tuple(parameter.shape)
            if found != expected:
                raise DataError(f"{model_dir}: {stored} is {found}, its config.json says {expected}.")
            own = parameter.to_local()
            own.copy_(rows[start : start + own.shape[0]])


def first_row(parameter: DTensor) -> int:
    """Where this process' rows begin: FSDP2 cuts the first dimension as `torch.chunk` does."""
    mesh = parameter.device_mesh
    piece = -(-parameter.shape[0] // mesh.size())
    return min(piece * mesh.get_local_rank(), parameter.shape[0])


def tensor_files(model_dir: Path) -> dict[str, Any]:
    """Every tensor's name with the open safetensors file that holds it.

    Raises:
        DataError: the folder holds no safetensors file.
    """
    paths = sorted(model_dir.glob("*.safetensors"))
    if not paths:
        raise DataError(
            f"{model_dir} holds no *.safetensors; convert the checkpoint first (pickled weights are refused)."
        )
    found: dict[str, Any] = {}
    for path in paths:
        file = safe_open(path, framework="pt")
        found.update(dict.fromkeys(file.keys(), file))
    return found


def full_weights(module: ModelWithLoss) -> dict[str, Tensor]:
    """The whole model's weights under the names of its modules, on the host of process 0; empty on the others. Every
    process has to call it."""
    gathered = get_model_state_dict(module, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    return dict(_named(gathered, module.model.config.tie_word_embeddings))


def save_model(
    module: ModelWithLoss, tokenizer: Any, model_dir: Path, folder: Path, lora: LoraSettings | None = None
) -> None:
    """Gather the weights and let process 0 write an ordinary Hugging Face folder, adapters merged, in the number format
    of the base. Every process has to call it."""
    weights = full_weights(module)
    if dist.get_rank() != 0:
        return
    if lora is not None:
        weights = merged(weights, lora)
    dtype = stored_dtype(model_dir)
    config = copy.deepcopy(module.model.config)
    config.dtype, config.use_cache = dtype, True
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if (model_dir / "generation_config.json").exists():
        shutil.copy(model_dir / "generation_config.json", folder)
    save_torch_state_dict({name: tensor.to(dtype) for name, tensor in weights.items()}, folder)


def stored_dtype(model_dir: Path) -> torch.dtype:
    """Number format of a folder's weights."""
    name, file = next(iter(tensor_files(model_dir).items()))
    return {"BF16": torch.bfloat16, "F16": torch.float16}.get(file.get_slice(name).get_dtype(), torch.float32)


def _named(gathered: dict[str, Any], tied: bool) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in gathered.items():
        if not (tied and name == f"{PREFIX}lm_head.weight"):
            yield name.removeprefix(PREFIX), tensor


def _materialise(module: nn.Module, device: torch.device) -> None:
    """Give the parameters storage on the device; `to_empty` would also empty the buffers, so they are put back."""
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    module.to_empty(device=device)
    for name, buffer in module.named_buffers():
        buffer.copy_(buffers[name])
