"""`safekeel bank`: the project's own test banks."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from safekeel.errors import DataError

app = typer.Typer(help="The TC260 test banks that ship with SafeKeel.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """A group, so that `check` stays a word of its own."""


@app.command()
def check(
    data_dir: Annotated[Path | None, typer.Option(help="Public sets to compare with; default: $SAFEKEEL_DATA.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Prove the standard's minimums, no duplicates, and no overlap with public sets."""
    from safekeel.data.bank_check import check_banks

    findings = check_banks(data_dir)
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], ensure_ascii=False, indent=2))
    else:
        for finding in findings:
            typer.echo(f"{'ok  ' if finding.passed else 'FAIL'}  {finding.check:<32}{finding.detail}")
    if failed := [finding.check for finding in findings if not finding.passed]:
        raise DataError(f"{len(failed)} checks failed: {', '.join(failed)}. Correct the bank, or name a data folder.")
