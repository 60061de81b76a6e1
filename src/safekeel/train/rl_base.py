"""What the base model itself scores on the RL prompts, from k samples: the other side of the paired constraints.

Measured with the stage's own rewards, temperature and token budget: one greedy answer is right more often than samples
at temperature 1, and the difference would count as a deficit of the policy. Rows are cached in the stage's folder, so a
killed measurement continues.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from safekeel.bench.generate import generate
from safekeel.chat import load_tokenizer, render_prompt, think_state
from safekeel.engines import open_engine
from safekeel.engines.base import Sampling
from safekeel.progress import Progress
from safekeel.records import Completion, Prompt
from safekeel.train.rewards import RewardSet, Said
from safekeel.train.rl_config import RlConfig
from safekeel.train.rl_scoring import domain

FILE = "base_completions.jsonl"


def measure(
    prompts: Sequence[Prompt], base: Path, config: RlConfig, rewards: RewardSet, folder: Path, progress: Progress
) -> list[Prompt]:
    """All prompts; problems with `meta.base_pass_rate`, harmless ones with `meta.base_refusal_rate`.

    Args:
        folder: gets `base_completions.jsonl`.

    Raises:
        EngineError: the base model cannot be used.
    """
    asked = [prompt for prompt in prompts if domain(prompt) in ("problem", "harmless")]
    closed = bool(asked) and think_state(render_prompt(load_tokenizer(base), asked[0].messages)) == "closed"
    sampling = Sampling(
        max_tokens=config.max_tokens,
        temperature=config.temperature,
        num_samples=config.base_samples,
        seed=config.seed,
        think="forced" if closed else "default",  # as `chat.thinking_prompt`, which RL trains on
    )
    engine = open_engine(f"hf:{base}")
    return with_base_rates(
        prompts, generate(engine, asked, sampling, folder / FILE, progress, "base on RL prompts"), rewards
    )


def with_base_rates(prompts: Sequence[Prompt], rows: Sequence[Completion], rewards: RewardSet) -> list[Prompt]:
    """The prompts with the rates that the base's completions give; a prompt without completions stays as it is."""
    known = {prompt.id: prompt for prompt in prompts}
    outcomes = rewards.score([(known[row.prompt_id], _said(row)) for row in rows])
    passed: dict[str, list[float]] = {}
    refused: dict[str, list[float]] = {}
    for row, outcome in zip(rows, outcomes, strict=True):
        if (right := outcome.rewards["right_answer"]) is not None:
            passed.setdefault(row.prompt_id, []).append(right)
        if outcome.refused is not None:
            refused.setdefault(row.prompt_id, []).append(float(outcome.refused))
    found = []
    for prompt in prompts:
        rates = {
            name: sum(values[prompt.id]) / len(values[prompt.id])
            for name, values in (("base_pass_rate", passed), ("base_refusal_rate", refused))
            if prompt.id in values
        }
        found.append(prompt.model_copy(update={"meta": prompt.meta | rates}) if rates else prompt)
    return found


def _said(row: Completion) -> Said:
    return Said(row.raw, row.thought or "", row.answer, row.split, row.finish == "stop")
