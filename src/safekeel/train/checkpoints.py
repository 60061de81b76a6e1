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
_RISEN = 1.5
"""Of the first loss: beyond the noise of small batches."""


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


def kept_rows(metrics: Path, step: int) -> list[dict[str, Any]]:
    """The rows of `metrics.jsonl` up to the step that training continues from; a kill may have cut off the last one."""
    lines = metrics.read_text("utf-8").splitlines() if metrics.exists() else []
    rows: list[dict[str, Any]] = [json.loads(line) for line in lines if line.endswith("}")]
    return [row for row in rows if row["step"] <= step]


def write_rows(metrics: Path, rows: list[dict[str, Any]]) -> None:
    """All rows of `metrics.jsonl` anew."""
    metrics.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def rising_loss(rows: list[dict[str, Any]], section: str) -> list[str]:
    """A note where the mean loss of the last tenth of the rows is half above that of the first: training diverged and
    its numbers stayed finite."""
    tenth = max(1, len(rows) // 10)
    losses = [row["loss"] for row in rows if "loss" in row]
    if len(losses) < 2:
        return []
    first, last = (sum(part) / len(part) for part in (losses[:tenth], losses[-tenth:]))
    if last <= _RISEN * first:
        return []
    return [f"the loss rose from {first:.3g} to {last:.3g}: training diverged. Lower {section}.learning_rate"]


class StageCallback(TrainerCallback):
    """Writes the completeness marker and the metrics rows, and reports progress; on the first process alone, because
    the others of a run share its folder.

    `metrics.jsonl` is cut back to the step training resumes from, so that a killed run leaves no row twice.
    """

    def __init__(self, metrics: Path, label: str, progress: Progress, resumed_step: int) -> None:
        self.metrics, self.label, self.progress, self.resumed_step = metrics, label, progress, resumed_step

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.is_world_process_zero:
            write_rows(self.metrics, kept_rows(self.metrics, self.resumed_step))

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict | None = None,
        **kwargs: Any,
    ) -> None:
        if state.is_world_process_zero and logs and "loss" in logs:
            row = {
                "step": state.global_step,
                **{key: value for key, value in logs.items() if isinstance(value, int | float)},
            }
            with self.metrics.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(row) + "\n")

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            self.progress(self.label, state.global_step, state.max_steps, 0.0)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
            atomic_write_json(folder / MARKER, {"step": state.global_step})
