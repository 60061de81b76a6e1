"""`safekeel nano`: the embedded model."""

from __future__ import annotations

import typer

from safekeel.commands.common import Out, Set, say

app = typer.Typer(help="The embedded nano model.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """A group, so that `build` stays a word of its own."""


@app.command("build")
def nano_build(out: Out, overrides: Set = None) -> None:
    """Build the nano base model from nothing on CPU (about ten minutes on two cores)."""
    from safekeel.config import load_recipe
    from safekeel.nano import model as nano
    from safekeel.pipeline import Recipe
    from safekeel.progress import ProgressReporter

    config = Recipe.resolve(load_recipe("nano", overrides or [])).nano.model_copy(update={"rebuild": True})
    with ProgressReporter() as progress:
        nano.build_stage(config, out, "safekeel nano build", say, progress)
    typer.echo(str(out / "model"))
