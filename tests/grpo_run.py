"""A constrained GRPO run small enough for seconds: the shipped nano model, six prompts.

`python -m tests.grpo_run OUT [KEY=JSON …]` runs the stage in a process that a test may kill.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from safekeel.artifact import Stage, read_manifest
from safekeel.nano import world
from safekeel.nano.model import shipped_checkpoint
from safekeel.nano.words import load_words
from safekeel.records import Prompt, write_jsonl
from safekeel.train import grpo
from safekeel.train.rewards import RewardSet

SMALL: dict[str, Any] = {
    "num_steps": 4,
    "num_checkpoints": 4,
    "prompts_per_step": 3,
    "num_generations": 7,
    "max_tokens": 48,
    "temperature": 1.3,  # the untrained model answers alike at 1, and nothing would be learnt
    "dual_window": 32,
    "max_truncated": None,
}


def pool() -> list[Prompt]:
    """A risky prompt, four harmless ones and a problem; rollouts of three draw all of them in two steps."""
    words = load_words()
    risky = world.refuse_items(words, "validation", 1, 0)
    harmless = world.answer_items(words, "validation", 4, 0)
    problems = world.problem_items("arithmetic", "validation", 1, 0)
    solved = [problem.model_copy(update={"meta": problem.meta | {"base_correct": True}}) for problem in problems]
    return [*risky, *harmless, *solved]


def quiet_progress(label: str, done: int, total: int, value: float = 0.0, note: str = "") -> None:
    """No progress is shown."""


def run_stage(
    out: Path,
    prompts: list[Prompt] | None = None,
    base_dir: Path | None = None,
    rewards: RewardSet | None = None,
    **overrides: Any,
) -> dict[str, Any]:
    """Run the stage in `out/40-rl`; returns its manifest."""
    corpus = out / "10-corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    if not (corpus / "rl.jsonl").exists():
        write_jsonl(corpus / "rl.jsonl", pool() if prompts is None else prompts)
    config = grpo.RlConfig(**(SMALL | overrides))
    inputs = [shipped_checkpoint(), corpus / "rl.jsonl"]
    stage = Stage(out / "40-rl", grpo.STAGE, grpo.VERSION, config.model_dump(mode="json"), inputs, config.seed, "test")
    grpo.run(config, stage, shipped_checkpoint(), corpus, quiet_progress, base_dir, rewards)
    return read_manifest(stage.dir)


def rows(out: Path) -> list[dict[str, Any]]:
    """The rows of `metrics.jsonl`."""
    return [json.loads(line) for line in (out / "40-rl/metrics.jsonl").read_text("utf-8").splitlines()]


if __name__ == "__main__":
    settings = dict(pair.split("=", 1) for pair in sys.argv[2:])
    run_stage(Path(sys.argv[1]), **{key: json.loads(value) for key, value in settings.items()})
