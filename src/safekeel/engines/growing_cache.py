"""A KV cache that grows in place and whose rows can leave and join. transformers' own copies the whole cache at every
step to append one position, and has no way to add rows."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import Cache, DynamicLayer

MIN_GROWTH, MAX_GROWTH = 32, 1024
"""Positions by which the memory grows at once: half its length, within these. More memory makes rows lie further apart,
fewer positions mean more copies; 16 to 64 measured alike on nano."""


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
            growth = min(max(MIN_GROWTH, end // 2), MAX_GROWTH)
            self._memory = [_moved(old[:, :, :length], 0, end + growth) for old in self._memory]
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


def select(cache: Any, kept: torch.Tensor, start: int) -> Any:
    """A cache with only these rows, and the positions from `start` on."""
    return _built([[each[kept, :, start:] for each in (layer.keys, layer.values)] for layer in cache.layers])


def joined(upper: Any, lower: Any) -> Any:
    """One cache with the rows of both; the shorter one is padded with zeros on the left."""
    total = max(upper.get_seq_length(), lower.get_seq_length())
    return _built(
        [
            [torch.cat([_moved(each, total - each.shape[-2], total) for each in (a, b)]) for a, b in pairs]
            for pairs in (
                ((one.keys, two.keys), (one.values, two.values))
                for one, two in zip(upper.layers, lower.layers, strict=True)
            )
        ]
    )


def _built(layers: list[list[torch.Tensor]]) -> Any:
    cache = growing_cache()
    for keys, values in layers:
        cache.layers.append(GrowingLayer())
        cache.layers[-1].replace(keys, values)
    return cache


def _moved(states: torch.Tensor, offset: int, length: int) -> torch.Tensor:
    """States from position `offset` on, in memory of `length` positions."""
    if offset == 0 and states.shape[-2] == length:
        return states
    batch, heads, positions, size = states.shape
    memory = states.new_zeros(batch, heads, length, size)
    memory[:, :, offset : offset + positions] = states
    return memory
