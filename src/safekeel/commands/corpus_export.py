"""`safekeel corpus export`: a corpus in the formats of training engines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from safekeel.commands.common import AsJson, Out, say


def corpus_export(
    folder: Annotated[Path, typer.Argument(help="A corpus folder with sft.jsonl (10-corpus).")],
    formats: Annotated[str, typer.Option("--format", help="Such as trl,verl; a wrong name lists all.")],
    out: Out,
    tokenizer: Annotated[
        Path | None, typer.Option(help="Folder of the model to train: renders its template and counts its tokens.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a corpus as JSONL, Parquet, or for TRL, LLaMA-Factory, MindSpeed-LLM and verl."""
    from safekeel.corpus.export import export

    names = [name.strip() for name in formats.split(",") if name.strip()]
    manifests = [json.loads(path.read_text("utf-8")) for path in export(folder, names, out, tokenizer)]
    if as_json:
        typer.echo(json.dumps(manifests, ensure_ascii=False, indent=2))
        return
    for manifest in manifests:
        for file in manifest["files"]:
            rows = "" if file["rows"] is None else f"{file['rows']:,} rows"
            typer.echo(f"{manifest['format'] + '/' + file['path']:<56}{rows:>14}{file['bytes']:>16,} bytes")
        if left_out := manifest["left_out"]:
            reasons = ", ".join(f"{num} {reason}" for reason, num in left_out.items())
            say(f"{manifest['format']}: not held by this format, see left_out.jsonl: {reasons}.")
        for note in manifest["notes"]:
            say(f"{manifest['format']}: {note}")
