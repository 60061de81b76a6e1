"""Samples in groups of like length, in an order that is a function of seed and epoch alone.

The Trainer's own `group_by_length` (transformers 5.17) draws each epoch's order from the global random state, and a
resumed run draws it anew from another state: killed in its second epoch, it trains on some samples twice and on others
never. Here the n-th epoch has the same order in every attempt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from transformers.trainer_pt_utils import LengthGroupedSampler

_STRIDE = 100_003  # prime and above any number of epochs: two (seed, epoch) pairs in use never meet


class EpochSampler(LengthGroupedSampler):
    """`LengthGroupedSampler` whose order the Trainer's `set_epoch` decides."""

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        """
        Args:
            lengths: tokens per sample.
            batch_size: samples per optimizer step; the longest of each mega-batch of 50 come first.
        """
        super().__init__(batch_size, lengths=list(lengths))
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the Trainer (through accelerate's data loader) before each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        self.generator = torch.Generator().manual_seed(self.seed * _STRIDE + self.epoch)
        order: Iterator[int] = super().__iter__()
        return order
