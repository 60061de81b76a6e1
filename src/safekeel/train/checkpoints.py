"""Checkpoints a training stage can trust: complete or not there at all.

The Trainer writes a checkpoint file by file; a `kill -9` in between leaves a folder that looks like one. A marker is
written after everything else; folders without it are deleted before training continues.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from safekeel.artifact import atomic_write_json
from safekeel.progress import Progress

MARKER = "complete.json"


def complete_checkpoints(folder: Path) -> list[Path]:
    """The complete checkpoints of a training run, oldest first."""
    found = [path for path in folder.glob("checkpoint-*") if (path / MARKER).exists()]
    return sorted(found, key=step_of)


def step_of(checkpoint: Path) -> int:
    """The training step of a checkpoint folder."""
    return int(checkpoint.name.split("-")[1])


def discard_incomplete(folder: Path) -> None:
    """Delete what a kill left half-written."""
    for path in folder.glob("checkpoint-*"):
        if not (path / MARKER).exists():
            shutil.rmtree(path)


def drop_training_state(folder: Path) -> None:
    """Keep weights and tokenizer only: optimizer and RNG state are for resuming and the run is over."""
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin", "trainer_state.json"):
        (folder / name).unlink(missing_ok=True)


class StageCallback(TrainerCallback):
    """Writes the completeness marker, the metrics rows, and reports progress.

    `metrics.jsonl` is cut back to the step training resumes from, so that a killed run leaves no row twice.
    """

    def __init__(self, metrics: Path, label: str, progress: Progress, resumed_step: int) -> None:
        self.metrics, self.label, self.progress = metrics, label, progress
        rows = metrics.read_text("utf-8").splitlines() if metrics.exists() else []
        kept = [line for line in rows if line.endswith("}") and json.loads(line)["step"] <= resumed_step]
        metrics.write_text("".join(f"{line}\n" for line in kept), "utf-8")

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict | None = None,
        **kwargs: Any,
    ) -> None:
        if logs and "loss" in logs:
            row = {
                "step": state.global_step,
                **{key: value for key, value in logs.items() if isinstance(value, int | float)},
            }
            with self.metrics.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(row) + "\n")

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.progress(self.label, state.global_step, state.max_steps, 0.0)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        atomic_write_json(folder / MARKER, {"step": state.global_step})
