"""`safekeel corpus`: the safety corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from safekeel.commands.common import AsJson

app = typer.Typer(help="The safety corpus.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """A group, so that `card` stays a word of its own."""


@app.command("card")
def corpus_card(
    folder: Annotated[Path, typer.Argument(help="A corpus folder (10-corpus).")], as_json: AsJson = False
) -> None:
    """Print the data card of a corpus."""
    from safekeel.errors import DataError

    path = folder / ("card.json" if as_json else "card.md")
    if not path.exists():
        raise DataError(
            f"{path} does not exist; expected a folder written by the corpus stage, such as out/nano/10-corpus."
        )
    typer.echo(path.read_text("utf-8"))
