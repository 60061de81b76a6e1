"""The size of a model, from its `config.json` alone: no weights, no torch.

Exact for the dense families that the recipes train (Qwen2, Qwen3, Llama: every distilled R1 model is one of them); the
tests compare with transformers' own count. Mixture-of-experts models train through verl or MindSpeed-LLM, whose layouts
`layout.py` checks; their memory is not estimated here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safekeel.errors import DataError, UsageError, nearest, shown

FAMILIES = ("qwen2", "qwen3", "llama")
_NEEDED = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")


@dataclass(frozen=True)
class Shape:
    """Sizes of a dense decoder. Counts are parameters, not bytes."""

    family: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    tied: bool
    positions: int
    """Longest sequence the position encoding was made for."""
    attention_bias: bool

    @property
    def query_width(self) -> int:
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Width of the keys, and of the values."""
        return self.kv_heads * self.head_dim

    @property
    def layer_params(self) -> int:
        projections = self.hidden * (2 * self.query_width + 2 * self.kv_width) + 3 * self.hidden * self.intermediate
        output_bias = self.hidden if self.family == "llama" else 0  # Qwen2's biases are on queries, keys, values only
        bias = (self.query_width + 2 * self.kv_width + output_bias) if self.attention_bias else 0
        head_norms = 2 * self.head_dim if self.family == "qwen3" else 0
        return projections + bias + head_norms + 2 * self.hidden

    @property
    def root_params(self) -> int:
        """Everything outside the layers: embedding, final norm, and the head where it is not the embedding."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2) + self.hidden

    @property
    def params(self) -> int:
        return self.layers * self.layer_params + self.root_params

    def training_flops(self, length: int) -> float:
        """Floating-point operations of one token, forward and backward (Megatron-LM's count, arXiv 2104.04473, without
        recomputation): 6 per matrix weight, and the causal half of the attention scores of a row of `length` tokens."""
        matrix = self.layers * self.layer_params + self.vocabulary * self.hidden
        return 6.0 * matrix + 6.0 * self.layers * self.query_width * length

    def lora_params(self, rank: int, targets: tuple[str, ...], layers: int | None = None) -> int:
        """Parameters of adapters of this rank on the named projections of `layers` layers (default: all)."""
        sizes = self._projections()
        if unknown := [target for target in targets if target not in sizes]:
            raise UsageError(
                f"LoRA target {unknown[0]!r}: no such projection.{nearest(unknown[0], sizes)} "
                f"Known: {', '.join(sizes)}."
            )
        return rank * sum(sum(sizes[target]) for target in targets) * (self.layers if layers is None else layers)

    def _projections(self) -> dict[str, tuple[int, int]]:
        return {
            "q_proj": (self.hidden, self.query_width),
            "k_proj": (self.hidden, self.kv_width),
            "v_proj": (self.hidden, self.kv_width),
            "o_proj": (self.query_width, self.hidden),
            "gate_proj": (self.hidden, self.intermediate),
            "up_proj": (self.hidden, self.intermediate),
            "down_proj": (self.intermediate, self.hidden),
        }


def read_shape(model_dir: Path) -> Shape:
    """The shape of a model folder.

    Raises:
        DataError: there is no readable config.json, or a size is missing in it.
        UsageError: the architecture is none of `FAMILIES`.
    """
    path = model_dir / "config.json"
    try:
        config = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist; expected a Hugging Face model folder.") from error
    except ValueError as error:
        raise DataError(f"{path} is no JSON ({error}); expected the config.json of a Hugging Face model.") from error
    return shape_of(config, str(path))


def shape_of(config: dict[str, Any], where: str) -> Shape:
    """The shape that the keys of a `config.json` describe; `where` names the file in messages."""
    family = config.get("model_type")
    if family not in FAMILIES:
        raise UsageError(
            f"{where}: model_type {shown(family)} has no size estimate; expected one of {', '.join(FAMILIES)}. Skip "
            "--dry-run, or train a mixture of experts through verl or MindSpeed-LLM."
        )
    if missing := [key for key in _NEEDED if not isinstance(config.get(key), int)]:
        raise DataError(f"{where}: {missing[0]} is {shown(config.get(missing[0]))}; expected a whole number.")
    heads = config["num_attention_heads"]
    return Shape(
        family=family,
        hidden=config["hidden_size"],
        layers=config["num_hidden_layers"],
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_dim=config.get("head_dim") or config["hidden_size"] // heads,
        intermediate=config["intermediate_size"],
        vocabulary=config["vocab_size"],
        tied=bool(config.get("tie_word_embeddings", False)),
        positions=config.get("max_position_embeddings", 0),
        attention_bias=family == "qwen2" or bool(config.get("attention_bias", False)),
    )
