"""Which prompts each rollout draws: a pure function of pool and seed, so that a resumed run continues the same order.

The order is TRL's own (a seeded permutation per pass over the pool), written down in advance: TRL's sampler starts its
generator again when a run resumes after the first pass, and would repeat that pass's order (transformers 40691).
"""

from __future__ import annotations


def schedule(pool_size: int, num_prompts: int, seed: int) -> list[int]:
    """Indices of the first `num_prompts` prompts to be drawn. Every prompt comes once before any comes again.

    Raises:
        ValueError: the pool is empty.
    """
    import torch

    if pool_size < 1:
        raise ValueError("the pool of prompts is empty")
    generator = torch.Generator().manual_seed(seed)
    drawn: list[int] = []
    while len(drawn) < num_prompts:
        drawn += torch.randperm(pool_size, generator=generator).tolist()
    return drawn[:num_prompts]
