"""`safekeel train sft|grpo`: one training stage outside a run folder, by the nano recipe or one for a real model.

Like `pipeline`, this file knows several stages and is imported by none of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from safekeel.artifact import Stage, run_lock
from safekeel.config import build, load_recipe
from safekeel.errors import ConfigError, DataError, UsageError
from safekeel.progress import ProgressReporter
from safekeel.train import grpo, sft
from safekeel.train.disk import CONTINUE, no_space
from safekeel.train.launch.plan import Plan, dry_run
from safekeel.train.launch.recipe import TrainRecipe, is_training
from safekeel.train.launch.sharded import LaunchConfig
from safekeel.train.launch.sharded import run as run_sharded

Kind = Literal["sft", "rl"]
ROWS = {"sft": "sft.jsonl", "rl": "rl.jsonl"}


@dataclass(frozen=True)
class TrainRequest:
    """One stage, as the user asked for it."""

    kind: Kind
    model: Path
    corpus: Path
    recipe: str | None = None
    overrides: tuple[str, ...] = ()

    def settings(self) -> tuple[sft.SftConfig | grpo.RlConfig, LaunchConfig]:
        """The stage's configuration and how it is launched.

        Raises:
            ConfigError: the recipe is none of training, or has no such stage.
        """
        tables = load_recipe(self.recipe or "nano", list(self.overrides))
        if is_training(tables):
            recipe = TrainRecipe.resolve(tables)
            config = recipe.sft if self.kind == "sft" else recipe.rl
            if config is None:
                raise ConfigError(f"The recipe {self.recipe} has no section [{self.kind}]; its README says why.")
            return config, recipe.launch
        from safekeel.pipeline import Recipe

        launch = build(LaunchConfig, tables.pop("launch", {}), "launch")  # the loop itself runs on one device
        loop = Recipe.resolve(tables)
        return (loop.sft if self.kind == "sft" else loop.rl), launch

    def check(self) -> None:
        """Look at model and corpus before anything is loaded.

        Raises:
            UsageError: no such model folder.
            DataError: the corpus has no rows for the stage.
        """
        if not self.model.is_dir():
            raise UsageError(
                f"MODEL hf:{self.model}: no such folder; expected a checkpoint such as out/nano/00-base/model."
            )
        rows = self.corpus / ROWS[self.kind]
        if not rows.exists():
            raise DataError(f"{rows} does not exist; expected a corpus folder such as out/nano/10-corpus.")


def plan(request: TrainRequest) -> Plan:
    """What the stage would take: tokens, steps, memory by part, hours. Loads no weights.

    Raises:
        UsageError, DataError, ConfigError: what would stop the stage later.
    """
    request.check()
    config, launch = request.settings()
    return dry_run(request.kind, config, request.model, request.corpus, launch)


def train(request: TrainRequest, out: Path, say: Callable[[str], None]) -> None:
    """Run the stage into `out`; continues an interrupted one and skips a finished one.

    Raises:
        SafeKeelError: see `safekeel.errors`.
    """
    request.check()
    config, launch = request.settings()
    module = sft if request.kind == "sft" else grpo
    inputs = [request.model, request.corpus / ROWS[request.kind]]
    command = f"safekeel train {request.kind}"
    identity = config.model_dump(mode="json") | ({"processes": launch.world} if launch.world > 1 else {})
    stage = Stage(out, module.STAGE, module.VERSION, identity, inputs, config.seed, command)
    with no_space(out, CONTINUE), run_lock(out), ProgressReporter() as progress:
        if stage.is_current():
            say(f"{out}: up to date, skipped")
        elif isinstance(config, sft.SftConfig) and launch.world > 1:
            for note in run_sharded(config, launch, stage, request.model, request.corpus, progress):
                say(f"{out}: {note}")
        elif isinstance(config, sft.SftConfig):
            for note in sft.run(config, stage, request.model, request.corpus, progress):
                say(f"{out}: {note}")
        else:
            if launch.world > 1:
                say(f"{out}: only SFT is spread over devices; this stage runs on one of the {launch.world}")
            grpo.run(config, stage, request.model, request.corpus, progress)
