"""`safekeel train preference`: DPO with SafeDPO's relabelling and margin."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from safekeel.commands.common import DataDir, Out, Set, say
from safekeel.errors import ConfigError, DataError, UsageError, nearest

if TYPE_CHECKING:
    from safekeel.judges.base import Judge

COMMAND = "safekeel train preference"


def train_preference(
    model: Annotated[str, typer.Argument(help="hf:PATH of the model to train, best after SFT; also the reference.")],
    corpus: Annotated[Path, typer.Option("--corpus", help="Corpus folder: sft.jsonl and generated/.")],
    out: Out,
    recipe: Annotated[
        str | None, typer.Option("--recipe", help="Recipe with a [preference] section; default: nano.")
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(help="Judge of MODEL's own answers (source own): linear, rules, api:NAME, …, or nano."),
    ] = None,
    judge_base_url: Annotated[list[str] | None, typer.Option("--judge-base-url")] = None,
    judge_api_key_env: Annotated[str | None, typer.Option("--judge-api-key-env", metavar="NAME")] = None,
    data_dir: DataDir = None,
    overrides: Set = None,
) -> None:
    """Preference training: safe over unsafe, help over refusal of the harmless; continues an interrupted run."""
    from safekeel.artifact import Stage, run_lock
    from safekeel.config import build, load_recipe
    from safekeel.progress import ProgressReporter
    from safekeel.train import preference
    from safekeel.train.disk import CONTINUE, no_space
    from safekeel.train.preference_sources import OWN_ANSWERS

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
    opened = _judge(judge, tuple(judge_base_url or ()), judge_api_key_env) if "own" in config.sources else None
    identity = config.model_dump(mode="json") | {"judge": opened.version if opened else None}
    kept = (f"{OWN_ANSWERS}*",)  # found again by content: other hyper-parameters ask the model nothing anew
    stage = Stage(out, preference.STAGE, preference.VERSION, identity, inputs, config.seed, COMMAND, kept)
    with no_space(out, CONTINUE), run_lock(out), ProgressReporter() as progress:
        if stage.is_current():
            say(f"{out}: up to date, skipped")
        else:
            preference.run(config, stage, model_dir, corpus, progress, say, data_dir, opened)


def _judge(name: str | None, base_urls: tuple[str, ...], api_key_env: str | None) -> Judge:
    """The judge called `name`; `nano` is the nano world's, which no other command offers.

    Raises:
        UsageError: none was named, or there is none of that name.
    """
    from safekeel.bench.command import JudgeRequest
    from safekeel.judges.nano import NanoJudge
    from safekeel.nano.words import load_words

    if name is None:
        raise UsageError('preference.sources = ["own"] needs a judge of the model\'s answers; name one with --judge.')
    return NanoJudge(load_words()) if name == "nano" else JudgeRequest(name, base_urls, api_key_env).open()


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
