"""`safekeel train`: single training stages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from safekeel.commands.common import Out, Set, say
from safekeel.errors import UsageError

app = typer.Typer(help="Single training stages.", no_args_is_help=True)


def _train(stage_name: str, model: str, corpus: Path, out: Path, overrides: list[str] | None) -> None:
    from safekeel.pipeline import train_single

    if not model.startswith("hf:"):
        raise UsageError(f"MODEL {model!r}: training needs a local checkpoint folder, written hf:PATH.")
    train_single(stage_name, Path(model.removeprefix("hf:")), corpus, out, overrides or [], say)


@app.command("sft")
def train_sft(model: str, corpus: Annotated[Path, typer.Option("--corpus")], out: Out, overrides: Set = None) -> None:
    """Supervised fine-tuning on CORPUS/sft.jsonl."""
    _train("sft", model, corpus, out, overrides)


@app.command("grpo")
def train_grpo(model: str, corpus: Annotated[Path, typer.Option("--corpus")], out: Out, overrides: Set = None) -> None:
    """Balanced GRPO on CORPUS/rl.jsonl."""
    _train("rl", model, corpus, out, overrides)
