"""`safekeel train preference`: DPO with SafeDPO's relabelling and margin."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from safekeel.commands.common import DataDir, Out, Set, say
from safekeel.errors import ConfigError, DataError, UsageError, nearest

COMMAND = "safekeel train preference"


def train_preference(
    model: Annotated[str, typer.Argument(help="hf:PATH of the model to train, best after SFT; also the reference.")],
    corpus: Annotated[Path, typer.Option("--corpus", help="Corpus folder: sft.jsonl and generated/.")],
    out: Out,
    recipe: Annotated[
        str | None, typer.Option("--recipe", help="Recipe with a [preference] section; default: nano.")
    ] = None,
    data_dir: DataDir = None,
    overrides: Set = None,
) -> None:
    """Preference training: safe over unsafe, help over refusal of the harmless; continues an interrupted run."""
    from safekeel.artifact import Stage, run_lock
    from safekeel.config import build, load_recipe
    from safekeel.progress import ProgressReporter
    from safekeel.train import preference

    if not model.startswith("hf:"):
        raise UsageError(f"MODEL {model!r}: training needs a local checkpoint folder, written hf:PATH.")
    model_dir = Path(model.removeprefix("hf:"))
    if not model_dir.is_dir():
        raise UsageError(f"MODEL {model}: no such folder; expected a checkpoint such as out/nano/30-select/model.")
    if not (corpus / "sft.jsonl").exists():
        raise DataError(f"{corpus / 'sft.jsonl'} does not exist; expected a corpus folder such as out/nano/10-corpus.")
    _check_overrides(recipe, overrides or [])
    tables = load_recipe(recipe, overrides or [])
    config = build(preference.PreferenceConfig, tables.get(preference.STAGE, {}), preference.STAGE)
    inputs = preference.stage_inputs(config, model_dir, corpus)
    identity = config.model_dump(mode="json")
    stage = Stage(out, preference.STAGE, preference.VERSION, identity, inputs, config.seed, COMMAND)
    with run_lock(out), ProgressReporter() as progress:
        if stage.is_current():
            say(f"{out}: up to date, skipped")
        else:
            preference.run(config, stage, model_dir, corpus, progress, say, data_dir)


def _check_overrides(recipe: str | None, overrides: list[str]) -> None:
    """An override of a section that neither the recipe nor this stage has is a slip of the pen.

    Raises:
        ConfigError: names the nearest section.
    """
    from safekeel.config import load_recipe
    from safekeel.train.preference import STAGE

    known = {*load_recipe(recipe, []), STAGE}
    for name in load_recipe(recipe, overrides):
        if name not in known:
            raise ConfigError(f"Unknown section [{name}].{nearest(name, known)} This stage reads [{STAGE}].")
