"""Packing: many documents in one row of a batch, none of which sees another, so that no position is spent on padding.

    steps = plan_steps(len(lengths), batch_size=128, total_steps=390, seed=0)     # the samples of each optimizer step
    groups, passes = micro_batches(steps, lengths, limit=16_384, world_size=8)    # … of each forward pass and process
    batch = RowCollator(documents, pad_id)([{"samples": [3, 0, 7]}])

The loss of a step is the mean over all its labelled tokens, and its samples are drawn at random by seed and epoch, on
one process or on many alike. The same samples padded, one per row, give the same loss and gradients (within 1e-5:
`tests/unit/test_packing.py`); only which of them meet in a step differs, because padded batches are drawn by length
(`epoch_sampler.py`). Position ids start at 0 with each document: from them transformers builds
a block-diagonal mask (`masking_utils.find_packed_sequence_indices`) or, where all lies in one row, FlashAttention's
sequence boundaries. Padding at the end of a row is one more document of its own, without labels.

SDPA computes a whole row squared, so there a row is as long as the longest sample of the step and no longer; with
FlashAttention or FlexAttention all of a pass is one row. Measured with the nano model on one core, forward and backward
of 1,792 tokens in documents of 56: 222 ms unpacked, 228 ms in rows of 112, 671 ms in one row.
"""

from __future__ import annotations

import bisect
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from safekeel.errors import ConfigError, EngineError
from safekeel.train.text import IGNORED

ISOLATION_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 5e-3}
"""Largest difference of a logit, relative to the largest logit, that rounding explains: another mask gives another
order of sums. Measured leak of a model that ignores the boundaries: above 0.1."""


class Document(NamedTuple):
    """One sample ready for a batch; lists of equal length."""

    input_ids: list[int]
    labels: list[int]
    weights: list[float] | None = None
    """Of each label in the loss (`key_sentence.py`); None = 1 everywhere."""
    anchored: bool = False
    """Held to the base's distribution (`anchor.py`)."""


def fill_rows(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Indices of documents per row: best fit, longest first (Johnson 1974: at most 11/9 of the optimum and 6/9 row).

    Args:
        lengths: tokens per document, none above `capacity`.
    """
    rows: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (free tokens, row), ascending
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        place = bisect.bisect_left(room, (lengths[index], -1))
        if place < len(room):
            free, row = room.pop(place)
        else:
            free, row = capacity, len(rows)
            rows.append([])
        rows[row].append(index)
        bisect.insort(room, (free - lengths[index], row))
    return rows


def plan_steps(num_samples: int, batch_size: int, total_steps: int, seed: int) -> list[list[int]]:
    """Samples of every optimizer step of the whole training: each epoch its own order, fixed by seed and epoch alone.

    The last step of an epoch has what is left, as in an unpacked run.
    """
    steps: list[list[int]] = []
    epoch = 0
    while len(steps) < total_steps:
        order = list(range(num_samples))
        random.Random(f"{seed}-{epoch}").shuffle(order)
        steps += [order[start : start + batch_size] for start in range(0, num_samples, batch_size)]
        epoch += 1
    return steps[:total_steps]


def split_evenly(step: Sequence[int], lengths: Sequence[int], parts: int) -> list[list[int]]:
    """A step's samples in `parts` groups of nearly equal token counts: longest first, each to the lightest group.

    With fewer samples than parts, some groups are empty: every process must make the same number of passes.
    """
    groups: list[list[int]] = [[] for _ in range(parts)]
    loads = [0] * parts
    for sample in sorted(step, key=lambda sample: (-lengths[sample], sample)):
        lightest = loads.index(min(loads))
        groups[lightest].append(sample)
        loads[lightest] += lengths[sample]
    return groups


def micro_batches(
    steps: Sequence[Sequence[int]], lengths: Sequence[int], limit: int | None, world_size: int = 1
) -> tuple[list[list[int]], int]:
    """(samples of each forward pass in training order, passes per step and process).

    Process r makes passes r, r + world_size, …, which is how accelerate shards batches. Every step has the same number
    of passes, because the Trainer accumulates gradients over a fixed number.

    Args:
        limit: most tokens in one pass; None = one pass per step and process.

    Raises:
        ConfigError: one sample alone is longer than the limit.
    """
    longest = max((lengths[sample] for step in steps for sample in step), default=0)
    if limit is not None and longest > limit:
        raise ConfigError(f"sft.micro_tokens is {limit}, but one sample has {longest} tokens; raise it to that.")
    passes = max((_passes(step, lengths, limit, world_size) for step in steps), default=1)
    groups = [group for step in steps for group in split_evenly(step, lengths, passes * world_size)]
    return groups, passes


def _passes(step: Sequence[int], lengths: Sequence[int], limit: int | None, world_size: int) -> int:
    if limit is None:
        return 1
    passes = max(1, -(-sum(lengths[sample] for sample in step) // (limit * world_size)))
    while any(
        sum(lengths[sample] for sample in group) > limit for group in split_evenly(step, lengths, passes * world_size)
    ):
        passes += 1
    return passes


class RowCollator:
    """Lays the samples of one forward pass into rows.

    Gives `input_ids`, `labels`, `position_ids` of shape [rows, length]; `loss_weights` (float) and `anchored` (bool) of
    the same shape where any document asks for them; `num_tokens`, [1], without padding; for a single row also the
    boundaries that FlashAttention takes.
    """

    def __init__(self, documents: Sequence[Document], pad_id: int, one_row: bool = False) -> None:
        self.documents, self.pad_id, self.one_row = documents, pad_id, one_row
        self.has_weights = any(document.weights is not None for document in documents)
        self.has_anchor = any(document.anchored for document in documents)

    def __call__(self, passes: list[dict[str, list[int]]]) -> dict[str, Any]:
        chosen = [self.documents[sample] for one in passes for sample in one["samples"]]
        num_tokens = sum(len(document.input_ids) for document in chosen)
        chosen = chosen or [self._nothing()]
        lengths = [len(document.input_ids) for document in chosen]
        rows = [list(range(len(chosen)))] if self.one_row else fill_rows(lengths, max(lengths))
        width = max(sum(lengths[index] for index in row) for row in rows)
        laid = [self._row([chosen[index] for index in row], width) for row in rows]
        batch: dict[str, Any] = {
            "input_ids": torch.tensor([row["input_ids"] for row in laid]),
            "labels": torch.tensor([row["labels"] for row in laid]),
            "position_ids": torch.tensor([row["position_ids"] for row in laid]),
            "num_tokens": torch.tensor([num_tokens]),
        }
        if self.has_weights:
            batch["loss_weights"] = torch.tensor([row["weights"] for row in laid], dtype=torch.float32)
        if self.has_anchor:
            batch["anchored"] = torch.tensor([row["anchored"] for row in laid], dtype=torch.bool)
        if self.one_row:
            ends = torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)
            batch |= {"cu_seq_lens_q": ends, "cu_seq_lens_k": ends}
            batch |= {"max_length_q": max(lengths), "max_length_k": max(lengths)}
        return batch

    def _nothing(self) -> Document:
        """What a process without samples in a pass computes: two tokens, nothing learnt."""
        return Document([self.pad_id] * 2, [IGNORED] * 2)

    def _row(self, documents: list[Document], width: int) -> dict[str, list[Any]]:
        row: dict[str, list[Any]] = {"input_ids": [], "labels": [], "position_ids": [], "weights": [], "anchored": []}
        padding = width - sum(len(document.input_ids) for document in documents)
        if padding:
            documents = [*documents, Document([self.pad_id] * padding, [IGNORED] * padding)]
        for document in documents:
            length = len(document.input_ids)
            row["input_ids"] += document.input_ids
            row["labels"] += [IGNORED, *document.labels[1:]]  # the token before the first is another document's
            row["position_ids"] += range(length)
            row["weights"] += document.weights or [1.0] * length
            row["anchored"] += [document.anchored] * length
        return row


def check_isolation(model: Any) -> None:
    """Two short documents in one row must give the logits that they give alone.

    Run on the very model that is to be trained, because whether a mask is built from position ids depends on its
    architecture (recurrent and linear-attention layers need more) and on its attention implementation.

    Raises:
        EngineError: they do not, so a packed row would train one sample on another's text; or the weights are damaged.
    """
    device = next(model.parameters()).device
    vocabulary = model.config.get_text_config().vocab_size
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randint(vocabulary, (1, 8), generator=generator).to(device) for _ in range(2))
    positions = torch.arange(8, device=device)[None]
    training = model.training
    model.eval()
    row, twice = torch.cat([first, second], dim=1), torch.cat([positions, positions], dim=1)
    with torch.no_grad():  # as in training without a cache: with one, transformers looks for no boundaries
        alone = model(input_ids=second, position_ids=positions, use_cache=False).logits
        packed = model(input_ids=row, position_ids=twice, use_cache=False).logits[:, 8:]
    model.train(training)
    if not torch.isfinite(alone).all():
        raise EngineError(
            f"{type(model).__name__} gives logits that are not finite before any training: its weights are damaged or "
            "overflow. Take another checkpoint, or sft.precision=fp32."
        )
    difference = ((packed.float() - alone.float()).abs().max() / alone.float().abs().max().clamp(min=1e-6)).item()
    if not difference <= ISOLATION_TOLERANCE.get(alone.dtype, 1e-4):
        raise EngineError(
            f"{type(model).__name__} does not keep packed documents apart (a logit moves by {difference:.1%} when "
            "another document stands before it); set sft.packing=false, or another sft.attention."
        )
