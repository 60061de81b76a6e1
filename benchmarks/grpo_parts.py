"""Where the time of a GRPO step goes: generating, rewards, log-probabilities of start and base, update.

    python benchmarks/grpo_parts.py [--model out/nano/20-sft/checkpoints/…] [--corpus out/nano/10-corpus] [--steps 6]

The real stage (`train/grpo.py`) with the nano recipe's settings, one thread; the trainer's own methods are timed from
outside. The first step is left out. Prints and writes `grpo_parts.json` and `grpo_parts.md` to docs/results/training.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import mean
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # before torch is imported

import torch  # noqa: E402

from safekeel.artifact import Stage  # noqa: E402
from safekeel.train import grpo  # noqa: E402
from safekeel.train.rl_config import RlConfig  # noqa: E402
from safekeel.train.rl_trainer import SafeKeelGrpoTrainer  # noqa: E402

MOST_REWARDS = 0.05  # issue 5: share of a step
METHODS = ("_generate", "_calculate_rewards", "_generate_and_score_completions", "training_step")


def timed(times: dict[str, list[float]]) -> None:
    """Let every call of the trainer's methods note its seconds."""
    for name in METHODS:
        setattr(SafeKeelGrpoTrainer, name, noting(getattr(SafeKeelGrpoTrainer, name), times[name]))


def noting(method: Callable[..., Any], seconds: list[float]) -> Callable[..., Any]:
    def wrapper(*arguments: Any, **named: Any) -> Any:
        started = time.perf_counter()
        result = method(*arguments, **named)
        seconds.append(time.perf_counter() - started)
        return result

    return wrapper


def measure(model: Path, base: Path, corpus: Path, steps: int) -> dict[str, Any]:
    """Mean seconds of each part over all steps but the first."""
    times: dict[str, list[float]] = defaultdict(list)
    ends: list[float] = []
    timed(times)
    config = RlConfig(num_steps=steps, num_checkpoints=1)

    def progress(label: str, done: int, total: int, value: float = 0.0, note: str = "") -> None:
        ends.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder) / "40-rl", grpo.STAGE, grpo.VERSION, config.model_dump(mode="json"), [], 0, "bench")
        grpo.run(config, stage, model, corpus, progress, base_dir=base)
        rows = [json.loads(line) for line in (stage.dir / "metrics.jsonl").read_text("utf-8").splitlines()]
    whole = (ends[-1] - ends[-steps]) / (steps - 1)
    part = {name: mean(seconds[-(steps - 1) :]) for name, seconds in times.items()}
    scoring = part["_generate_and_score_completions"] - part["_generate"] - part["_calculate_rewards"]
    return {
        "steps": steps - 1,
        "completions": config.prompts_per_step * config.num_generations,
        "completion_tokens": mean(row["completions/mean_length"] for row in rows[1:]),
        "step": whole,
        "parts": {
            "generate": part["_generate"],
            "rewards": part["_calculate_rewards"],
            "log-probabilities of policy, start and base": scoring,
            "update (forward, backward)": part["training_step"] - part["_generate_and_score_completions"],
            "optimizer, multipliers, logging": whole - part["training_step"],
        },
    }


def as_markdown(found: dict[str, Any]) -> str:
    machine, share = found["machine"], found["parts"]["rewards"] / found["step"]
    lines = [
        f"A GRPO step of the nano model: {found['completions']} completions of {found['completion_tokens']:.0f} tokens "
        f"on average, mean of {found['steps']} steps. `python benchmarks/grpo_parts.py`, {machine['date']}, one thread "
        f"of {machine['cores']} cores, torch {machine['torch']}, TRL {machine['trl']}, load {machine['load']:.1f} "
        "before the run: compare the shares, not the seconds.",
        "",
        "| part | seconds | share |",
        "|---|---|---|",
        *(f"| {name} | {seconds:.3f} | {seconds / found['step']:.1%} |" for name, seconds in found["parts"].items()),
        f"| step | {found['step']:.3f} | |",
        "",
        f"Asked for (issue 5): rewards below {MOST_REWARDS:.0%} of a step. Measured: **{share:.1%}**.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("out/nano/30-select/model"))
    parser.add_argument("--base", type=Path, default=Path("out/nano/00-base/model"))
    parser.add_argument("--corpus", type=Path, default=Path("out/nano/10-corpus"))
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--out", type=Path, default=Path("docs/results/training"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    machine = {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": os.cpu_count(),
        "torch": version("torch"),
        "trl": version("trl"),
        "load": os.getloadavg()[0],
    }
    found = measure(arguments.model, arguments.base, arguments.corpus, arguments.steps) | {"machine": machine}
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "grpo_parts.json").write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    page = as_markdown(found)
    (arguments.out / "grpo_parts.md").write_text(page, "utf-8")
    print(page)


if __name__ == "__main__":
    main()
