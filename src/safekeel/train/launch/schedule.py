"""Which samples each optimizer step trains on, and which process gets which: plain lists, the same on every process.

The batch of a step depends on the seed alone, never on the number of processes, so a run on two devices learns from the
same batches as a run on one. Every process knows the whole schedule, so nothing has to be agreed on while training:
not the number of labelled tokens, and not how many forward passes the busiest process needs.
"""

from __future__ import annotations

import random
from collections.abc import Sequence


def batches(num_samples: int, batch_size: int, num_steps: int, seed: int) -> list[list[int]]:
    """Sample numbers of each step, epoch after epoch in a new order; the last batch of an epoch may be short."""
    steps: list[list[int]] = []
    epoch = 0
    while len(steps) < num_steps:
        order = list(range(num_samples))
        random.Random(seed * 1_000_003 + epoch).shuffle(order)
        steps += [order[start : start + batch_size] for start in range(0, num_samples, batch_size)]
        epoch += 1
    return steps[:num_steps]


def shares(batch: Sequence[int], lengths: Sequence[int], num_processes: int) -> list[list[int]]:
    """A batch dealt out so that every process has about the same number of tokens (longest first, to the one that has
    least); a process may get none."""
    dealt: list[list[int]] = [[] for _ in range(num_processes)]
    tokens = [0] * num_processes
    for sample in sorted(batch, key=lambda number: (-lengths[number], number)):
        least = tokens.index(min(tokens))
        dealt[least].append(sample)
        tokens[least] += lengths[sample]
    return dealt


def rows(samples: Sequence[int], lengths: Sequence[int], row_length: int) -> list[list[int]]:
    """Samples packed into rows of at most `row_length` tokens: first fit, longest first (at most 11/9 of the fewest
    rows possible). A sample longer than a row gets one of its own."""
    packed: list[list[int]] = []
    room: list[int] = []
    for sample in sorted(samples, key=lambda number: (-lengths[number], number)):
        fits = next((index for index, left in enumerate(room) if left >= lengths[sample]), None)
        if fits is None:
            packed.append([])
            room.append(row_length)
            fits = -1
        packed[fits].append(sample)
        room[fits] -= lengths[sample]
    return packed


def passes(
    batch: Sequence[int], lengths: Sequence[int], num_processes: int, row_length: int
) -> list[list[list[int] | None]]:
    """For each process the row of every forward pass of this step; None where it has none left but others do."""
    packed = [rows(share, lengths, row_length) for share in shares(batch, lengths, num_processes)]
    most = max(len(found) for found in packed)
    return [[*found, *[None] * (most - len(found))] for found in packed]
