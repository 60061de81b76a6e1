"""Batches through transformers' own `generate()`: for models whose cache `decoding.py` cannot handle (sliding windows,
recurrent states). Slower, because every batch lasts as long as its longest row."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import GenerationConfig

from safekeel.engines.decoding import Row


class PlainDecoder:
    """As `decoding.Decoder`, but sampled text is reproducible only for the same rows, order and batch size."""

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
        self.model, self.stop_ids, self.pad_id, self.batch_size, self.seed = model, stop_ids, pad_id, batch_size, seed
        self.temperature, self.top_p = temperature, top_p

    def run(self, rows: Sequence[Row]) -> Iterator[Row]:
        """Complete all rows, a batch at a time. Rows of one batch should have similar lengths and limits."""
        for number, start in enumerate(range(0, len(rows), self.batch_size)):
            batch = rows[start : start + self.batch_size]
            started = time.perf_counter()
            generated = self._generate(batch, self.seed + number)
            share = (time.perf_counter() - started) / len(batch)
            for row, tokens in zip(batch, generated, strict=True):
                tokens = tokens[: row.limit]
                end = next((index for index, token in enumerate(tokens) if token in self.stop_ids), len(tokens))
                row.tokens, row.seconds, row.ended = tokens[: end + 1], share, True
                yield row

    def _generate(self, batch: Sequence[Row], seed: int) -> list[list[int]]:
        width, device = max(len(row.ids) for row in batch), self.model.device
        padded = torch.tensor([[self.pad_id] * (width - len(row.ids)) + row.ids for row in batch], device=device)
        mask = torch.tensor([[0] * (width - len(row.ids)) + [1] * len(row.ids) for row in batch], device=device)
        drawn = {"temperature": self.temperature, "top_p": self.top_p, "top_k": 0}  # unset, top_k would be 50
        config = GenerationConfig(
            max_new_tokens=max(row.limit for row in batch),
            do_sample=self.temperature > 0,
            eos_token_id=sorted(self.stop_ids),
            pad_token_id=self.pad_id,
            use_cache=True,
            **(drawn if self.temperature > 0 else {}),
        )
        with _seeded(seed, device), torch.inference_mode():
            output = self.model.generate(padded, attention_mask=mask, generation_config=config)
        new: list[list[int]] = output[:, width:].tolist()
        return new


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the generators and give the caller's state back afterwards."""
    devices = [] if device.type == "cpu" else [device.index or 0]
    with torch.random.fork_rng(devices, device_type="cuda" if device.type == "cpu" else device.type):
        torch.manual_seed(seed)
        yield
