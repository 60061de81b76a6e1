"""A KV cache that grows in place and whose rows can leave and join. transformers' own copies the whole cache at every
step to append one position, and has no way to add rows."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import Cache, DynamicLayer

GROWTH = 64
"""Positions by which the memory grows at once: a copy of everything every 64 steps."""


class GrowingLayer(DynamicLayer):
    """Keys and values of one layer, (batch, heads, positions, size), as views of memory that is larger than needed."""

    _memory: list[torch.Tensor]

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append positions in place."""
        length = self.get_seq_length()
        if not self.is_initialized:
            self.replace(key_states[:, :, :0], value_states[:, :, :0])
        end = length + key_states.shape[-2]
        if end > self._memory[0].shape[-2]:
            self._memory = [_moved(old[:, :, :length], 0, end + GROWTH) for old in self._memory]
        for memory, new in zip(self._memory, (key_states, value_states), strict=True):
            memory[:, :, length:end] = new
        self.keys, self.values = (memory[:, :, :end] for memory in self._memory)
        return self.keys, self.values

    def replace(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Hold these instead."""
        if not self.is_initialized:
            self.lazy_initialization(keys, values)
        self._memory = [keys, values]
        self.keys, self.values = keys, values


def growing_cache() -> Any:
    """An empty cache for any model that `supports` holds for."""
    return Cache(layer_class_to_replicate=GrowingLayer)


def supports(model: Any) -> bool:
    """Whether the model keeps plain keys and values of all positions in every layer (no windows, no recurrent states),
    takes positions, and can leave out the logits of a prompt."""
    if not model._supports_default_dynamic_cache():
        return False
    layers = DynamicCache(config=model.config).layers
    names = inspect.signature(model.forward).parameters
    return all(type(layer) is DynamicLayer for layer in layers) and {"position_ids", "logits_to_keep"} <= names.keys()


def join(cache: Any, kept: torch.Tensor, start: int, fresh: Any) -> Any:
    """One cache with the rows `kept` of `cache`, its positions from `start` on, and below them all rows of `fresh`.

    The shorter of the two is padded with zeros on the left.
    """
    length = cache.get_seq_length() - start
    width = fresh.get_seq_length() if fresh is not None else 0
    total = max(length, width)
    joined = growing_cache()
    for number, layer in enumerate(cache.layers):
        both = []
        for name in ("keys", "values"):
            parts = [_moved(getattr(layer, name)[kept, :, start:], total - length, total)]
            if fresh is not None:
                parts.append(_moved(getattr(fresh.layers[number], name), total - width, total))
            both.append(torch.cat(parts) if len(parts) > 1 else parts[0])
        joined.layers.append(GrowingLayer())
        joined.layers[number].replace(*both)
    return joined


def _moved(states: torch.Tensor, offset: int, length: int) -> torch.Tensor:
    """States from position `offset` on, in memory of `length` positions."""
    if offset == 0 and states.shape[-2] == length:
        return states
    batch, heads, positions, size = states.shape
    memory = states.new_zeros(batch, heads, length, size)
    memory[:, :, offset : offset + positions] = states
    return memory
