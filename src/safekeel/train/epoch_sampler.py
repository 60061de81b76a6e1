"""Samples in groups of like length, in an order that is a function of seed and epoch alone.

The Trainer's own `group_by_length` (transformers 5.17) draws each epoch's order from the global random state, and a
resumed run draws it anew from another state: killed in its second epoch, it trains on some samples twice and on others
never. Here the n-th epoch has the same order in every attempt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import TrainerCallback
from transformers.trainer_pt_utils import LengthGroupedSampler

_STRIDE = 100_003  # prime and above any number of epochs: two (seed, epoch) pairs in use never meet


class EpochSampler(LengthGroupedSampler):
    """`LengthGroupedSampler` whose order `set_epoch` decides."""

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        """
        Args:
            lengths: tokens per sample.
            batch_size: samples per optimizer step; of 50 such batches each, the longest samples come first.
        """
        super().__init__(batch_size, lengths=list(lengths))
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """To be called before each epoch (from 0)."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        self.generator = torch.Generator().manual_seed(self.seed * _STRIDE + self.epoch)
        order: Iterator[int] = super().__iter__()
        return order


class EpochStart(TrainerCallback):
    """Tells a sampler which epoch begins.

    The Trainer does so itself through accelerate's data loader, but not where several processes share a run that
    continues inside an epoch: the loader that skips what was trained hides the sampler (accelerate 1.15,
    `skip_first_batches` of a `BatchSamplerShard`).
    """

    def __init__(self, sampler: EpochSampler) -> None:
        self.sampler = sampler

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        self.sampler.set_epoch(int(state.epoch or 0))


def follow_epochs(trainer: Any, lengths: Sequence[int]) -> EpochSampler:
    """The sampler of a trainer's own dataset, which from now on follows its epochs.

    Args:
        lengths: tokens per row of the dataset.
    """
    args = trainer.args
    per_step = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
    sampler = EpochSampler(lengths, per_step, args.seed)
    trainer.remove_callback(EpochStart)
    trainer.add_callback(EpochStart(sampler))
    return sampler
