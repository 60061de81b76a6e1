"""Candidates of a selection: which models there are, and what each answers, loaded from disk one at a time."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from safekeel.bench.generate import generate
from safekeel.bench.judging import judge_completions
from safekeel.bench.metrics import Item
from safekeel.bench.score import join_items
from safekeel.engines.base import Engine, Sampling
from safekeel.errors import DataError, UsageError
from safekeel.judges.base import Judge
from safekeel.progress import Progress
from safekeel.records import Prompt

BASE = "base"
ADAPTER_CONFIG = "adapter_config.json"
WORK = "candidate"
"""Where a model that is no checkpoint lies while it is measured; the next one takes its room."""
TRAINING_STATE = shutil.ignore_patterns(
    "optimizer*", "scheduler*", "rng_state*", "scaler*", "training_args.bin", "trainer_state.json", "global_step*"
)
"""For resuming only, and often larger than the weights."""


@dataclass(frozen=True)
class Source:
    """A candidate: a checkpoint at an alpha."""

    checkpoint: Path
    alpha: float
    name: str

    @property
    def is_whole(self) -> bool:
        """Whether the checkpoint is the candidate: a model of its own, at alpha 1."""
        return self.alpha == 1 and (self.checkpoint / "config.json").is_file()


def sources_of(checkpoints: Sequence[Path], alphas: Sequence[float], base: Path | None) -> list[Source]:
    """Every checkpoint at every alpha: in the order given, alphas from small to large.

    What cannot be merged is found here, by headers alone, before hours are spent on the others.

    Raises:
        DataError: no checkpoints, a damaged one, or one of another architecture than the base.
        UsageError: two checkpoints of one name, or a base is needed and not given.
    """
    if not checkpoints:
        raise DataError("There is no checkpoint to select from; did training save any? See 20-sft/manifest.json.")
    names = [path.name for path in checkpoints]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UsageError(f"two checkpoints are called {min(twice)!r}; rename the folder of one.")
    found = [
        Source(path, alpha, path.name if alpha == 1 else f"{path.name}@{alpha:g}")
        for path in checkpoints
        for alpha in sorted(alphas)
    ]
    for source in found:
        if not source.is_whole:
            _check(source, base)
    return found


def _check(source: Source, base: Path | None) -> None:
    from safekeel.train.merge import opened

    with opened(base, source.checkpoint, source.alpha):
        pass


def write_candidate(source: Source, base: Path | None, folder: Path, progress: Progress | None) -> None:
    """Write the model that a source stands for.

    Raises:
        UsageError, DataError: see `merge.opened` and `merge.write_model`.
    """
    from safekeel.train.merge import opened, write_model

    with opened(base, source.checkpoint, source.alpha) as mix:
        write_model(mix, base, source.checkpoint, folder, progress=progress)


def copy_checkpoint(checkpoint: Path, folder: Path) -> None:
    """A copy of a checkpoint without what is for resuming only.

    Raises:
        DataError: the disk is full.
    """
    from safekeel.train.disk import no_space

    with no_space(folder):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(checkpoint, folder, ignore=TRAINING_STATE)


class Evaluator:
    """Has models answer the validation set; rows and verdicts are files of the stage, found again by their keys."""

    def __init__(
        self,
        folder: Path,
        prompts: list[Prompt],
        open_model: Callable[[Path], Engine],
        judge: Judge,
        sampling: Sampling,
        progress: Progress,
    ) -> None:
        self.folder, self.prompts, self.open_model, self.judge = folder, prompts, open_model, judge
        self.sampling, self.progress = sampling, progress
        self.outputs: list[Path] = []

    def of(self, source: Source, base: Path | None) -> list[Item]:
        """The judged items of a candidate.

        Raises:
            DataError, EngineError: it cannot be written, loaded or asked; what is done is kept.
        """
        if source.is_whole:
            return self.items(source.checkpoint, source.name)
        work = self.folder / WORK
        try:
            write_candidate(source, base, work / source.name, self.progress)
            return self.items(work / source.name, source.name)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def items(self, model: Path, name: str) -> list[Item]:
        """The judged items of a model folder, which is loaded from disk and let go again."""
        engine = self.open_model(model)
        file = self.folder / f"completions-{name}.jsonl"
        rows = generate(engine, self.prompts, self.sampling, file, self.progress, f"select {name}")
        del engine
        _free_memory()
        verdicts_file = self.folder / f"verdicts-{name}.jsonl"
        verdicts = judge_completions(self.prompts, rows, self.judge, verdicts_file, self.progress)
        self.outputs += [file, verdicts_file]
        return join_items(self.prompts, rows, verdicts)


def _free_memory() -> None:
    """An accelerator holds one candidate at a time."""
    gc.collect()
    import sys

    torch = sys.modules.get("torch")
    if torch is not None and torch.accelerator.is_available():
        torch.accelerator.empty_cache()
