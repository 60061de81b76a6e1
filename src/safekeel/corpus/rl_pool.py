"""Prompts set aside for reinforcement learning: none of them, nor its twin, is in the SFT corpus.

RL on prompts that SFT has answered learns nothing: in the prototype 80% of their groups had no variance of reward
(feasibility.md section 4). Problems carry whether the base model solves them, which RL's capability constraint is
paired with.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from safekeel.bench.generate import generate
from safekeel.config import StageConfig
from safekeel.corpus.sample import Sample
from safekeel.corpus.synthesis.replay import Grade
from safekeel.engines.base import Engine, Sampling
from safekeel.files import digest
from safekeel.progress import Progress
from safekeel.records import Prompt

_BUCKETS = 10_000


class RlConfig(StageConfig):
    """How many of the clean prompts are set aside."""

    share: float = Field(0.2, ge=0, lt=1)
    """Of the prompts of every role but `general`; twins go together. Our choice: TARS (2507.00971) used
    2,000 RL prompts beside a light SFT."""
    max_tokens: int = Field(4096, ge=1)
    """Budget of the base model's answer to a problem."""
    seed: int = 0


def split_off(samples: Sequence[Sample], config: RlConfig) -> tuple[list[Sample], list[Sample]]:
    """(for SFT, for RL). A hash of seed and pair decides, so the split of a prompt never depends on the others."""
    limit = round(config.share * _BUCKETS)
    training: list[Sample] = []
    reserved: list[Sample] = []
    for sample in samples:
        group = sample.prompt.meta.get("cluster") or min(sample.id, sample.pair or sample.id)
        bucket = int(digest([config.seed, group])[:8], 16) % _BUCKETS
        (reserved if sample.role != "general" and bucket < limit else training).append(sample)
    return training, reserved


def rl_prompts(
    reserved: Sequence[Sample],
    config: RlConfig,
    target: Engine,
    grade: Grade,
    folder: Path,
    progress: Progress | None,
) -> list[Prompt]:
    """The RL prompts in their order; problems with `meta["base_correct"]`.

    Args:
        folder: keeps the base model's answers.
    """
    prompts = [sample.prompt.model_copy(update={"id": sample.id}) for sample in reserved]
    problems = [prompt for prompt in prompts if prompt.expect in ("solve", "choose") and prompt.target is not None]
    sampling = Sampling(max_tokens=config.max_tokens, seed=config.seed)
    rows = generate(target, problems, sampling, folder / "rl_base.jsonl", progress, "base on RL prompts")
    solved = {prompt.id: grade(prompt, row) is None for prompt, row in zip(problems, rows, strict=True)}
    return [
        prompt.model_copy(update={"meta": prompt.meta | {"base_correct": solved[prompt.id]}})
        if prompt.id in solved
        else prompt
        for prompt in prompts
    ]
