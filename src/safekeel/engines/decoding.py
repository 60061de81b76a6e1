"""A decoding loop for any transformers model with a plain KV cache: finished rows leave the batch, new ones take their
place.

`generate()` decodes a batch until its last row ends, copies the whole cache at every step to append one position, and
builds the mask anew. Here the cache grows in place, and as soon as a quarter of the rows has ended, they are dropped and
the next prompts join (left-padded, each row with its own positions). Greedy output is that of `generate()`.

Sampling is by row: a row's random numbers come from its own tokens, the seed and its sample number, so its text depends
neither on the batch size nor on its neighbours (beyond rounding).
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache, TemperatureLogitsWarper, TopPLogitsWarper
from transformers.cache_utils import Cache, DynamicLayer

REFILL_SHARE = 0.25
"""Share of ended rows at which the batch is rebuilt: less rebuilds too often (a rebuild costs about as much as a step),
more decodes rows that nobody needs. 0.1 to 0.4 measured alike on nano."""
GROWTH = 64
"""Positions by which the cache's memory grows."""


@dataclass
class Row:
    """One completion to make. `tokens` = new tokens, the stop token included; `seconds` = its share of the steps."""

    ids: list[int]
    limit: int
    sample: int = 0
    tokens: list[int] = field(default_factory=list)
    seconds: float = 0.0
    noise: Any = None


class GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values (batch, heads, positions, size) as views of memory that is larger than needed."""

    def update(self, key_states: Any, value_states: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Append positions in place."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._memory = [key_states[:, :, :0], value_states[:, :, :0]]
        length = self.get_seq_length()
        end = length + key_states.shape[-2]
        if end > self._memory[0].shape[-2]:
            self._memory = [_enlarged(old[:, :, :length], end + GROWTH) for old in self._memory]
        for memory, new in zip(self._memory, (key_states, value_states), strict=True):
            memory[:, :, length:end] = new
        self.keys, self.values = (memory[:, :, :end] for memory in self._memory)
        return self.keys, self.values

    def replace(self, keys: torch.Tensor, values: torch.Tensor, length: int) -> None:
        """Take over memory whose first `length` positions are filled."""
        if not self.is_initialized:
            self.lazy_initialization(keys, values)
        self._memory = [keys, values]
        self.keys, self.values = keys[:, :, :length], values[:, :, :length]


def supports(model: Any) -> bool:
    """Whether the model's cache is plain keys and values in every layer, without windows or recurrent states."""
    layers = DynamicCache(config=model.config).layers
    return not getattr(model, "_is_stateful", False) and all(type(layer) is DynamicLayer for layer in layers)


class Decoder:
    """Decodes rows, `batch_size` at a time."""

    def __init__(
        self,
        model: Any,
        stop_ids: frozenset[int],
        pad_id: int,
        batch_size: int,
        temperature: float,
        top_p: float,
        seed: int,
    ) -> None:
        self.model, self.pad_id, self.batch_size, self.seed = model, pad_id, batch_size, seed
        self.device = model.device
        self.stop_ids = torch.tensor(sorted(stop_ids), device=self.device)
        self.warpers: list[Any] = []
        self.greedy = temperature == 0
        if not self.greedy:
            self.warpers = [TemperatureLogitsWarper(temperature)] if temperature != 1 else []
            self.warpers += [TopPLogitsWarper(top_p)] if top_p < 1 else []
        self.masks_4d = getattr(model.config, "_attn_implementation", None) == "sdpa"

    @torch.inference_mode()
    def run(self, rows: Sequence[Row]) -> Iterator[Row]:
        """Complete all rows; each is given out as soon as it has ended. Longest prompts should come first."""
        waiting = deque(rows)
        active: list[Row] = []
        while waiting or active:
            room = self.batch_size - len(active)
            if not active or (waiting and room):
                joining = [waiting.popleft() for _ in range(min(room, len(waiting)))]
            ...
            yield from ()
