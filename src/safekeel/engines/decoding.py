"""A decoding loop for transformers models: rows that have ended leave the batch, and the few that go on are set aside
until enough of them make a batch.

`generate()` decodes a batch until its longest row has ended, copies the whole cache at every step and builds the mask
anew in every layer. Here the cache grows in place and no step is spent on more than a few ended rows. Rows are padded
on the left, each with its own positions. Greedy output is that of `generate()` (tested on four models).

A sampled row draws its random numbers from the seed, its prompt and its sample number alone, so that its text does not
depend on the batch size or on what else is asked (up to rounding), and a run that continues gives the same text.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from transformers import TemperatureLogitsWarper, TopPLogitsWarper

from safekeel.engines import cpu_attention
from safekeel.engines.growing_cache import growing_cache, joined, select

DROP_SHARE = 0.25
"""Share of ended rows at which they are dropped from a batch. A drop copies the cache, which costs about one step."""
PARK_SHARE = 0.25
"""Share of a batch that is set aside when the others have ended, until there are enough such rows for a batch. If
younger rows joined them instead, these would pay for the older ones' positions at every step."""


@dataclass
class Row:
    """One completion to make: at most `limit` new tokens after `ids`."""

    ids: list[int]
    limit: int
    sample: int = 0
    tokens: list[int] = field(default_factory=list)
    """The new tokens, the stop token included."""
    seconds: float = 0.0
    """Its share of the time of the steps it took part in, so that rows add up."""
    ended: bool = False


class Decoder:
    """Decodes any number of rows, at most `batch_size` together."""

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
        """
        Args:
            model: one that `growing_cache.supports` holds for, in evaluation mode.
            temperature: 0 = greedy.
        """
        self.model, self.stop_ids, self.pad_id, self.batch_size, self.seed = model, stop_ids, pad_id, batch_size, seed
        self.greedy = temperature == 0
        self.warpers: list[Any] = []
        if not self.greedy:
            self.warpers = [TemperatureLogitsWarper(temperature)] if temperature != 1 else []
            self.warpers += [TopPLogitsWarper(top_p)] if top_p < 1 else []
        self.noise: dict[int, np.random.Generator] = {}  # by id() of a row in the batch
        self.mask_4d = model.config._attn_implementation in ("sdpa", cpu_attention.NAME)  # they take it ready-made

    def run(self, rows: Sequence[Row]) -> Iterator[Row]:
        """Complete all rows; each is given out when it has ended. Prompts of similar length should be neighbours.

        At most twice `batch_size` rows are held at a time: those in work and those that wait for others of their age.
        """
        waiting, parked = deque(rows), _Batch()
        while waiting or parked.rows:
            batch = _Batch()
            if waiting and len(parked.rows) < self.batch_size:
                joining = [waiting.popleft() for _ in range(min(len(waiting), self.batch_size))]
                yield from self._timed(joining, self._read, batch, joining)
            else:
                batch, parked = parked, batch
            alone = not waiting and not parked.rows
            yield from self._decode(batch, 0 if alone else int(PARK_SHARE * len(batch.rows)))
            parked.join(batch)

    def _decode(self, batch: _Batch, num_left: int) -> Iterator[Row]:
        """Decode until so many rows are left; the batch then holds only these."""
        while len(batch.rows) > num_left:
            alive = [row for row in batch.rows if not row.ended]
            if len(alive) <= num_left or len(alive) < (1 - DROP_SHARE) * len(batch.rows):
                batch.drop_ended()
            else:
                yield from self._timed(alive, self._step, batch)

    def _timed(self, working: list[Row], work: Any, *arguments: Any) -> Iterator[Row]:
        """Do the work, charge it to the rows it was for, and give out those that have ended by it."""
        started = time.perf_counter()
        with torch.inference_mode():
            work(*arguments)
        share = (time.perf_counter() - started) / len(working)
        for row in working:
            row.seconds += share
            if row.ended:
                self.noise.pop(id(row), None)
                yield row

    def _step(self, batch: _Batch) -> None:
        """One more token for every row of the batch (for ended ones, one that nobody reads)."""
        batch.mask = torch.nn.functional.pad(batch.mask, (0, 1), value=True)
        mask = batch.mask.long()
        if self.mask_4d:  # in the form that attention adds to its scores, made once rather than in every layer
            bias = batch.mask.new_zeros(mask.shape, dtype=self.model.dtype)
            mask = bias.masked_fill_(~batch.mask, float("-inf"))[:, None, None, :]
        logits = self._forward(batch.newest[:, None], mask, batch.positions[:, None], batch.cache)
        batch.newest = self._choose(logits, batch.rows)
        batch.positions += 1

    def _read(self, batch: _Batch, rows: list[Row]) -> None:
        """Fill an empty batch: read the prompts, which gives the first new tokens."""
        device, width = self.model.device, max(len(row.ids) for row in rows)
        ids = torch.tensor([[self.pad_id] * (width - len(row.ids)) + row.ids for row in rows], device=device)
        batch.positions = torch.tensor([len(row.ids) for row in rows], device=device)
        batch.mask = torch.arange(width, device=device) >= (width - batch.positions)[:, None]
        positions = (batch.mask.long().cumsum(-1) - 1).clamp(min=0)
        batch.rows, batch.cache = rows, growing_cache()
        batch.newest = self._choose(self._forward(ids, batch.mask.long(), positions, batch.cache), rows)

    def _forward(self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: Any) -> torch.Tensor:
        """Logits (batch, vocabulary) after the last position."""
        output = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: torch.Tensor = output.logits[:, -1].float()
        return logits

    def _choose(self, logits: torch.Tensor, rows: Sequence[Row]) -> torch.Tensor:
        """The next token of every row, (batch,); those that count are noted in the rows."""
        if not self.greedy:
            chosen = self._draw(logits, rows)
        elif logits.device.type == "cpu":
            chosen = torch.from_numpy(logits.numpy().argmax(-1))  # ten times as fast as torch's there
        else:
            chosen = logits.argmax(-1)
        for row, token in zip(rows, chosen.tolist(), strict=True):
            if not row.ended:
                row.tokens.append(token)
                row.ended = token in self.stop_ids or len(row.tokens) == row.limit
        return chosen

    def _draw(self, logits: torch.Tensor, rows: Sequence[Row]) -> torch.Tensor:
        for warper in self.warpers:
            logits = warper(None, logits)
        mass = logits.double().softmax(-1).cumsum(-1)
        drawn = torch.tensor([[self._random(row)] for row in rows], dtype=torch.float64).to(mass.device)
        return torch.searchsorted(mass, drawn * mass[:, -1:], right=True).squeeze(-1).clamp(max=mass.shape[-1] - 1)

    def _random(self, row: Row) -> float:
        if row.ended:
            return 0.0
        if id(row) not in self.noise:
            origin = json.dumps([self.seed, row.sample, row.ids]).encode()
            key = int.from_bytes(hashlib.sha256(origin).digest()[:16], "big")
            self.noise[id(row)] = np.random.Generator(np.random.Philox(key=key))
        return self.noise[id(row)].random()


@dataclass
class _Batch:
    """The rows that are decoded together. `mask` (batch, positions) says which cached positions hold a token of the
    row; `newest` and `positions` (batch,) are the token to feed next and its position."""

    rows: list[Row] = field(default_factory=list)
    cache: Any = None
    mask: Any = None
    newest: Any = None
    positions: Any = None

    def drop_ended(self) -> None:
        """Keep only the rows that go on, and the positions that one of them uses."""
        kept = [place for place, row in enumerate(self.rows) if not row.ended]
        if not kept:
            self.rows, self.cache = [], None
        elif len(kept) < len(self.rows):
            places = torch.tensor(kept, device=self.mask.device)
            mask = self.mask[places]
            start = int(mask.any(0).int().argmax())
            self.cache = select(self.cache, places, start)
            self.rows = [self.rows[place] for place in kept]
            self.mask, self.newest, self.positions = mask[:, start:], self.newest[places], self.positions[places]

    def join(self, other: _Batch) -> None:
        """Take the rows of another batch; none of either has ended."""
        if not self.rows or not other.rows:
            for name, value in vars(other if other.rows else self).items():
                setattr(self, name, value)
            return
        self.cache = joined(self.cache, other.cache)
        total = max(self.mask.shape[1], other.mask.shape[1])
        both = (self.mask, other.mask)
        self.mask = torch.cat([torch.nn.functional.pad(m, (total - m.shape[1], 0), value=False) for m in both])
        self.newest = torch.cat([self.newest, other.newest])
        self.positions = torch.cat([self.positions, other.positions])
        self.rows = [*self.rows, *other.rows]
