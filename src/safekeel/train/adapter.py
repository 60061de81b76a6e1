"""LoRA adapters as changes to a model's weights, for merging without loading the model.

    W + alpha * scaling * B A        scaling = lora_alpha / r, or lora_alpha / sqrt(r) for rank-stabilised LoRA

What PEFT's `merge_and_unload` computes at alpha = 1 (peft 0.21, `tuners/lora/layer.py: get_delta_weight`), in float32
and rounded once. Modules that were trained whole (`modules_to_save`) move along the line from the base's weights.
Kinds of adapters that are no such sum (DoRA, activated LoRA, initialisations that change the base) are refused.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from safekeel.errors import DataError, shown
from safekeel.train.matching import EMBEDDINGS, HEAD
from safekeel.train.shards import FLOATS, Checkpoint, TensorInfo, read_header

if TYPE_CHECKING:
    from safekeel.train.interpolate import Scratch

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
PLAIN_INITS = (True, False, "gaussian", "eva", "orthogonal")
"""Initialisations that leave the base's weights as they are; PiSSA, OLoRA, CorDA, LoftQ and LoRA-GA do not."""
UNSUPPORTED = (
    "use_dora", "use_qalora", "use_bdlora", "alora_invocation_tokens", "layer_replication", "arrow_config",
    "target_parameters", "trainable_token_indices", "kasa_config", "velora_config", "monteclora_config",
)  # fmt: skip
_FACTOR = re.compile(r"(?P<module>.+)\.lora_(?P<embedding>embedding_)?(?P<side>[AB])(\.weight)?")
_OTHERWISE = (
    "Merge it with peft itself (merge_and_unload, save_pretrained) and name the merged folder as the tuned model"
)


class Factors(NamedTuple):
    """A tensor's change is `scaling * left @ right`; rows of it need only rows of `left`. Float32."""

    left: torch.Tensor
    right: torch.Tensor
    scaling: float


class Adapter:
    """What an adapter changes: `factors` by tensor name, and `whole` tensors (names in `stored`) that replace others.

    The factors are held in memory: r * (rows + columns) numbers per tensor.
    """

    def __init__(self, folder: Path) -> None:
        """
        Raises:
            DataError: no LoRA adapter, a kind that is no sum of base and product, or a damaged file.
        """
        self.folder = Path(folder)
        self.config = read_adapter_config(self.folder)
        tensors = read_header(self.folder / WEIGHTS)
        self.stored = Checkpoint(self.folder, tensors, {})
        pairs, self.whole = _sort_out(self.folder, tensors)
        with self.stored:
            self.factors = {name: self._factors(name, *pair) for name, pair in pairs.items()}

    def names(self) -> set[str]:
        """Names of the tensors that change."""
        return {*self.factors, *self.whole}

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape that the model's tensor must have."""
        if name in self.whole:
            return self.stored.tensors[self.whole[name]].shape
        left, right, _ = self.factors[name]
        return left.shape[0], right.shape[1]

    def _factors(self, name: str, a_name: str, b_name: str, is_embedding: bool) -> Factors:
        a, b = self._load(a_name), self._load(b_name)
        if a.ndim != 2 or b.ndim != 2 or a.shape[0] != b.shape[1]:
            raise DataError(
                f"{self.folder}: the factors of {name!r} have the shapes {list(a.shape)} and {list(b.shape)}; expected "
                f"(r, columns) and (rows, r) of a linear layer. {_OTHERWISE}."
            )
        scaling = self._scaling(name.removesuffix(".weight"))
        is_transposed = is_embedding or bool(self.config.get("fan_in_fan_out"))
        return Factors(a.T.contiguous(), b.T.contiguous(), scaling) if is_transposed else Factors(b, a, scaling)

    def _scaling(self, module: str) -> float:
        rank = _of_module(self.config.get("rank_pattern"), module, self.config["r"])
        alpha = _of_module(self.config.get("alpha_pattern"), module, self.config["lora_alpha"])
        return float(alpha / math.sqrt(rank) if self.config.get("use_rslora") else alpha / rank)

    def _load(self, name: str) -> torch.Tensor:
        info = self.stored.tensors[name]
        kinds = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
        if info.dtype not in kinds:
            raise DataError(f"{self.folder}: {name!r} is stored as {info.dtype}, expected {', '.join(kinds)}.")
        raw = bytearray(info.num_bytes)
        self.stored.read(name, 0, memoryview(raw))
        return torch.frombuffer(raw, dtype=kinds[info.dtype]).reshape(info.shape).to(torch.float32)


class AdapterChange:
    """What a LoRA adapter adds to its base."""

    def __init__(self, base: Checkpoint, adapter: Adapter) -> None:
        """
        Raises:
            DataError: the adapter changes a tensor that the base lacks or has in another shape or an integer type, or
                one of two stored copies of a shared one.
        """
        self.base, self.adapter = base, adapter
        for name in sorted(adapter.names()):
            info = base.tensors.get(name)
            found = None if info is None else [info.dtype, list(info.shape)]
            if info is None or info.shape != adapter.shape(name) or info.dtype not in FLOATS:
                raise DataError(
                    f"{adapter.folder} changes {name!r} of shape {list(adapter.shape(name))}; {base.folder} has "
                    f"{found or 'no such tensor'}. Expected the base that the adapter was trained on: "
                    f"{shown(adapter.config.get('base_model_name_or_path'))} by its own configuration."
                )
        shared = {HEAD, *(name for name in base.tensors if name.endswith(EMBEDDINGS))}
        if base.config.get("tie_word_embeddings") and HEAD in base.tensors and adapter.names() & shared:
            raise DataError(
                f"{adapter.folder} changes {min(adapter.names() & shared)!r}, which {base.folder} shares between "
                "embedding and head but stores twice; load the base and save it again, so that it is stored once."
            )

    def names(self) -> set[str]:
        return self.adapter.names()

    def block(self, name: str, first: int, count: int, scratch: Scratch, work: torch.dtype) -> torch.Tensor:
        """The numbers are whole rows of the matrix (`blocks_of`)."""
        if (stored := self.adapter.whole.get(name)) is not None:
            trained = scratch.load(1, self.adapter.stored, stored, first, count, work)
            base = scratch.load(2, self.base, name, first, count, work)
            return torch.sub(trained, base, out=trained)
        left, right, scaling = self.adapter.factors[name]
        columns = right.shape[1]
        rows = left[first // columns : (first + count) // columns]
        return (rows @ right).mul_(scaling).reshape(-1).to(work)

    def checkpoints(self) -> list[Checkpoint]:
        return [self.adapter.stored]


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter and no model of its own."""
    return (Path(folder) / CONFIG).is_file() and not (Path(folder) / "config.json").is_file()


def read_adapter_config(folder: Path) -> dict[str, Any]:
    """`adapter_config.json` of a LoRA adapter that can be merged.

    Raises:
        DataError: missing, malformed, another method, or an option under which merging is no sum.
    """
    path = Path(folder) / CONFIG
    try:
        config = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); expected the configuration of a LoRA adapter.") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        kind = config.get("peft_type") if isinstance(config, dict) else config
        raise DataError(f"{path}: peft_type is {shown(kind)}, expected 'LORA'. {_OTHERWISE}.")
    if asked := [name for name in UNSUPPORTED if config.get(name)]:
        raise DataError(f"{path}: {asked[0]} is set, which is no sum of weights and a product. {_OTHERWISE}.")
    if (start := config.get("init_lora_weights", True)) not in PLAIN_INITS:
        raise DataError(f"{path}: init_lora_weights {shown(start)} changes the base's weights too. {_OTHERWISE}.")
    for name in ("r", "lora_alpha"):
        if not isinstance(config.get(name), int | float) or config[name] <= 0:
            raise DataError(f"{path}: {name} is {shown(config.get(name))}, expected a positive number.")
    return config


def _sort_out(
    folder: Path, tensors: Mapping[str, TensorInfo]
) -> tuple[dict[str, tuple[str, str, bool]], dict[str, str]]:
    """Model tensor -> its two factors, and model tensor -> the stored tensor that replaces it."""
    sides: dict[str, dict[str, str]] = {}
    embeddings, whole = set(), {}
    for name in tensors:
        target = name.removeprefix(PREFIX)
        if found := _FACTOR.fullmatch(target):
            weight = f"{found['module'].removesuffix('.base_layer')}.weight"
            sides.setdefault(weight, {})[found["side"]] = name
            if found["embedding"]:
                embeddings.add(weight)
        elif "lora_" in target or not target.endswith((".weight", ".bias")):
            raise DataError(f"{folder / WEIGHTS}: {name!r} belongs to no plain LoRA. {_OTHERWISE}.")
        else:
            whole[target.replace(".base_layer.", ".").replace(".modules_to_save.", ".")] = name
    if alone := [weight for weight, pair in sides.items() if len(pair) != 2]:
        raise DataError(f"{folder / WEIGHTS}: {alone[0]!r} has one factor of two; save the adapter again.")
    return {weight: (pair["A"], pair["B"], weight in embeddings) for weight, pair in sides.items()}, whole


def _of_module(patterns: Mapping[str, float] | None, module: str, default: float) -> float:
    """A module's own rank or alpha, by PEFT's rule: the first pattern that matches the end of its name."""
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return default
