"""Options and output that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Set = Annotated[list[str] | None, typer.Option("--set", metavar="a.b=c", help="Override one recipe key; repeatable.")]
Out = Annotated[Path, typer.Option("--out", help="Folder to write to.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
DataDir = Annotated[Path | None, typer.Option(help="Local copies of public data; default: $SAFEKEEL_DATA.")]


def say(line: str) -> None:
    """Tell the user something that is no result: to standard error."""
    typer.echo(line, err=True)
