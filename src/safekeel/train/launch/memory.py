"""Peak memory of one device by part, estimated from a model's shape before anything is loaded.

Activations are counted tensor by tensor as transformers' Qwen2, Qwen3 and Llama layers keep them for the backward pass
with SDPA attention; the tests compare the count with what autograd really saves. The other parts follow from the number
formats. What is not counted: the allocator's slack and the CUDA or CANN context (together 1-3 GB, `OVERHEAD`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from safekeel.train.launch.shape import Shape

OVERHEAD = 0.08
"""Share of a device that is left free: context, allocator slack, communication buffers (NCCL's own are near 1 GB)."""
LOSS_COLUMNS = 32_768  # words whose logits TRL 1.16 makes at a time (`_CHUNKED_LOGPROB_CHUNK_SIZE`), for all positions
MOST_LOGITS = 2**26  # logits that `token_loss.py` makes at a time

Activations = Literal["keep", "recompute", "offload"]
"""Keep all that the backward pass needs, compute each layer again, or also keep the layers' inputs on the host."""
Head = Literal["pieces", "columns", "whole"]
"""How the loss is computed: as in `token_loss.py`, as in TRL's trainers, or from the logits of whole rows."""


@dataclass(frozen=True)
class Work:
    """What one device does at a time."""

    rows: int
    length: int
    """Tokens of a row, padding included."""
    value_bytes: int
    """2 for bfloat16, 4 for float32: the format of activations and of weights at work."""
    trained: int
    """Parameters that are trained (all, or the adapters')."""
    stored_bytes: int = 4
    """Per trained parameter; its gradient has as many and Adam's two moments twice as many."""
    frozen_bytes: int = 2
    """Per parameter that is not trained."""
    shards: int = 1
    """Devices over which weights, gradients and optimizer are spread (FSDP2, ZeRO-3); 1: each holds all."""
    activations: Activations = "keep"
    head: Head = "columns"
    packed: bool = False
    """Rows hold several documents, so attention needs an explicit mask."""
    references: int = 0
    """Frozen copies of the model that are held as well (for a KL to the start or the base)."""
    generated_rows: int = 0
    """Completions sampled at a time, each up to `length` tokens; 0 where nothing is generated here."""


@dataclass(frozen=True)
class Memory:
    """Bytes on one device by part."""

    weights: int
    working: int
    """Weights gathered or cast for the layers at work."""
    gradients: int
    optimizer: int
    references: int
    activations: int
    """Kept from the forward pass until the backward pass of the layer."""
    recomputed: int
    """One layer computed again; 0 where everything is kept."""
    logits: int
    cache: int
    """Keys and values while generating, when activations, logits and gradients do not exist."""

    @property
    def total(self) -> int:
        """Bytes at the worst moment: logits are gone before the first layer is computed again, and nothing of the
        backward pass exists while completions are generated."""
        held = self.weights + self.working + self.optimizer + self.references
        return held + max(self.gradients + self.activations + max(self.logits, self.recomputed), self.cache)

    def parts(self) -> dict[str, int]:
        """The parts by name, in the order of a table."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def estimate(shape: Shape, work: Work) -> Memory:
    """Peak bytes of one device for this work."""
    frozen = shape.params if work.trained < shape.params else 0  # adapters come on top of the model
    weights = work.stored_bytes * work.trained + work.frozen_bytes * frozen
    return Memory(
        weights=weights // work.shards,
        working=_working(shape, work, frozen > 0),
        gradients=work.stored_bytes * work.trained // work.shards,
        optimizer=2 * work.stored_bytes * work.trained // work.shards,
        references=work.references * work.value_bytes * shape.params // work.shards,
        activations=activation_bytes(shape, work),
        recomputed=0 if work.activations == "keep" else _layer_bytes(shape, work),
        logits=logit_bytes(shape, work),
        cache=2 * work.value_bytes * shape.layers * shape.kv_width * work.generated_rows * work.length,
    )


def layer_bytes_per_token(shape: Shape, value_bytes: int) -> int:
    """What one layer keeps of one token for its backward pass.

    Per token: gate, its activation, up and their product; queries, attention output, keys, values; and for each of the
    two norms its input in float32, the normalised input and its scaled form. Qwen3 normalises queries and keys as well.
    """
    projections = value_bytes * (4 * shape.intermediate + 2 * shape.query_width + 2 * shape.kv_width)
    norms = 2 * shape.hidden * (4 + 2 * value_bytes)
    statistics = 4 * shape.heads + 8  # log-sum-exp of attention, one scale per norm
    if shape.family == "qwen3":
        norms += (shape.query_width + shape.kv_width) * (4 + value_bytes)
        statistics += 4 * (shape.heads + shape.kv_heads)
    return projections + norms + statistics


def activation_bytes(shape: Shape, work: Work) -> int:
    """Everything kept for the backward pass, and the attention mask of packed rows."""
    inputs = work.rows * work.length * shape.hidden * work.value_bytes
    mask = work.rows * work.length**2 if work.packed else 0  # one byte per pair of positions
    kept = {
        "keep": shape.layers * _layer_bytes(shape, work),
        "recompute": shape.layers * inputs,
        "offload": 2 * inputs,  # the next layer's input is fetched while this one is at work
    }
    return kept[work.activations] + mask


def host_bytes(shape: Shape, work: Work) -> int:
    """What offload keeps in host memory for one device."""
    inputs = work.rows * work.length * shape.hidden * work.value_bytes
    return shape.layers * inputs if work.activations == "offload" else 0


def _layer_bytes(shape: Shape, work: Work) -> int:
    return work.rows * work.length * layer_bytes_per_token(shape, work.value_bytes)


def logit_bytes(shape: Shape, work: Work) -> int:
    """Logits, their softmax and their gradient, in float32, as far as they exist at a time."""
    tokens = work.rows * work.length
    if work.head == "whole":
        positions, words = tokens, shape.vocabulary
    elif work.head == "columns":
        positions, words = tokens, min(shape.vocabulary, LOSS_COLUMNS)
    else:
        positions, words = min(tokens, max(1, MOST_LOGITS // shape.vocabulary)), shape.vocabulary
    copy = 0 if work.value_bytes == 4 else 2 * work.value_bytes  # the matrix product's own result and gradient
    return positions * words * (3 * 4 + copy)


def _working(shape: Shape, work: Work, has_frozen: bool) -> int:
    """Weights beyond the stored ones: gathered layers (the next is fetched ahead) and the gradient of one before it is
    spread again; without sharding the casts that autocast keeps until the pass ends."""
    if work.shards > 1:
        gathered = work.value_bytes * (2 * shape.layer_params + shape.root_params)
        return gathered + (0 if has_frozen else work.stored_bytes * max(shape.layer_params, shape.root_params))
    is_cast = work.value_bytes < work.stored_bytes and not has_frozen
    return work.value_bytes * shape.params if is_cast else 0
