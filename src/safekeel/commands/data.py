"""`safekeel data`: which public data SafeKeel knows, what of it is here, and how to get the rest."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from safekeel.data import table
from safekeel.data.fetch import GITHUB, HUB_VARIABLE, HUGGING_FACE, Fetcher
from safekeel.data.registry import find_set, load_registry, state_of
from safekeel.errors import DataError, UsageError
from safekeel.progress import ProgressReporter

DATA_VARIABLE = "SAFEKEEL_DATA"

app = typer.Typer(help="Public data: what there is, download, check.", no_args_is_help=True)
DataDir = Annotated[Path | None, typer.Option("--data-dir", help=f"Folder of local copies; default: ${DATA_VARIABLE}.")]


def data_root(data_dir: Path | None) -> Path | None:
    """The data folder that was named, on the command line or in the environment."""
    return data_dir or (Path(value) if (value := os.environ.get(DATA_VARIABLE)) else None)


def _required_root(data_dir: Path | None) -> Path:
    root = data_root(data_dir)
    if root is None:
        raise UsageError(f"no data folder: pass --data-dir DIR or set {DATA_VARIABLE}=DIR.")
    return root


@app.command("list")
def list_sets(
    data_dir: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
    as_md: Annotated[bool, typer.Option("--md", help="Print docs/data.md.")] = False,
) -> None:
    """All known sets: languages, rows, licence, whether training is allowed, whether the data folder has them."""
    if as_md:
        typer.echo(table.as_markdown(), nl=False)
        return
    found = table.rows(data_root(data_dir))
    typer.echo(json.dumps(found, ensure_ascii=False, indent=2) if as_json else table.as_text(found))


@app.command()
def fetch(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names of `safekeel data list`.")],
    data_dir: DataDir = None,
    accept_unverified: Annotated[
        bool, typer.Option("--accept-unverified", help="Download files that have no pinned hash; records theirs.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that differ from the pin.")] = False,
    github: Annotated[str, typer.Option("--github", help="A mirror of raw.githubusercontent.com.")] = GITHUB,
    hub: Annotated[
        str | None, typer.Option("--hub", help=f"A mirror of the Hugging Face hub; default: ${HUB_VARIABLE}.")
    ] = None,
) -> None:
    """Download sets into the data folder; files that are there already are skipped."""
    root = _required_root(data_dir)
    sets = [find_set(name) for name in dict.fromkeys(names)]
    address = hub or os.environ.get(HUB_VARIABLE) or HUGGING_FACE
    with ProgressReporter() as progress:
        fetcher = Fetcher(github, address, accept_unverified, overwrite, progress)
        for data_set in sets:
            training = "allowed" if data_set.training_allowed else "not allowed by the licence"
            typer.echo(f"{data_set.name}: {data_set.title}. Licence: {data_set.licence}; training: {training}.")
            typer.echo(f"  cite {data_set.citation}")
            fetched = fetcher.fetch(data_set, root)
            kept = len(data_set.files) - len(fetched)
            typer.echo(f"  {len(fetched)} downloaded, {kept} already there, in {root / data_set.folder}")


@app.command()
def check(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Sets that must be there; default: all present.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Compare local copies with the pinned hashes; exit code 3 when one is changed or a named set is incomplete."""
    root = _required_root(data_dir)
    sets = [find_set(name) for name in dict.fromkeys(names)] if names else load_registry()
    wrong: list[str] = []
    for state in (state_of(data_set, root) for data_set in sets):
        bad = {path: s for path, s in state.files.items() if s == "changed" or (names and s != "here")}
        wrong += bad
        if names or state.summary != "missing":
            counts = {s: list(state.files.values()).count(s) for s in dict.fromkeys(state.files.values())}
            typer.echo(f"{state.data_set.name:<22}{', '.join(f'{n} {s}' for s, n in counts.items())}")
        for path, s in bad.items():
            typer.echo(f"  {s}: {path}")
    if wrong:
        raise DataError(
            f"{len(wrong)} of the checked files are not as pinned, the first is {root / wrong[0]}. "
            "`safekeel data fetch NAME` gets what is missing, with --overwrite also what is changed."
        )
