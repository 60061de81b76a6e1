"""`safekeel train`: single training stages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from safekeel.commands.common import AsJson, Out, Set, say
from safekeel.commands.train_preference import train_preference
from safekeel.errors import UsageError

if TYPE_CHECKING:
    from safekeel.train_command import Kind

app = typer.Typer(help="Single training stages.", no_args_is_help=True)
app.command("preference")(train_preference)
Model = Annotated[str, typer.Argument(help="hf:PATH of a local checkpoint folder.")]
Corpus = Annotated[Path, typer.Option("--corpus", help="A corpus folder (10-corpus).")]
RecipeName = Annotated[
    str | None, typer.Option("--recipe", help="Of a real model, such as deepseek-r1-distill-qwen-7b; default: nano.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print tokens, steps, memory and hours, check the layout, and train nothing.")
]


def _train(
    kind: Kind, model: str, corpus: Path, out: Path, recipe: str | None, only_plan: bool, overrides: Set, as_json: bool
) -> None:
    from safekeel.train_command import TrainRequest, plan, train

    if not model.startswith("hf:"):
        raise UsageError(f"MODEL {model!r}: training needs a local checkpoint folder, written hf:PATH.")
    request = TrainRequest(kind, Path(model.removeprefix("hf:")), corpus, recipe, tuple(overrides or ()))
    if not only_plan:
        train(request, out, say)
        return
    from safekeel.train.launch.plan import require_possible
    from safekeel.train.launch.plan_text import as_text

    found = plan(request)
    typer.echo(json.dumps(found.as_dict(), ensure_ascii=False, indent=2) if as_json else as_text(found))
    require_possible(found)


@app.command("sft")
def train_sft(
    model: Model,
    corpus: Corpus,
    out: Out,
    recipe: RecipeName = None,
    dry_run: DryRun = False,
    overrides: Set = None,
    as_json: AsJson = False,
) -> None:
    """Supervised fine-tuning on CORPUS/sft.jsonl."""
    _train("sft", model, corpus, out, recipe, dry_run, overrides, as_json)


@app.command("grpo")
def train_grpo(
    model: Model,
    corpus: Corpus,
    out: Out,
    recipe: RecipeName = None,
    dry_run: DryRun = False,
    overrides: Set = None,
    as_json: AsJson = False,
) -> None:
    """Balanced GRPO on CORPUS/rl.jsonl."""
    _train("rl", model, corpus, out, recipe, dry_run, overrides, as_json)
