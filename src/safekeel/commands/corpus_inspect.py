"""`safekeel corpus inspect`: TC260-003's corpus checks; `commands/corpus.py` mounts it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from safekeel.commands.common import AsJson, say
from safekeel.errors import UsageError


def corpus_inspect(
    corpus: Annotated[Path, typer.Argument(help="A corpus folder (its sft.jsonl), or any JSONL file of texts.")],
    sheet: Annotated[
        Path | None, typer.Option("--sheet", help="Write a random sheet (CSV and page) for people.")
    ] = None,
    score: Annotated[list[Path] | None, typer.Option("--score", help="A filled sheet; one per reader.")] = None,
    check: Annotated[
        str | None,
        typer.Option("--check", metavar="keywords:FILE|judge:SPEC", help="Check at least 10% automatically."),
    ] = None,
    rows: Annotated[int, typer.Option(help="Rows of the sheet; the standard asks for 4,000, or all.")] = 4000,
    per_source: Annotated[
        int, typer.Option(help="Least rows of each source, by extra random rows that count for it only.")
    ] = 0,
    share: Annotated[float, typer.Option(help="Share of the corpus that --check looks at.")] = 0.1,
    part: Annotated[str, typer.Option(help="response (thought and answer), or whole (the request too).")] = "response",
    seed: int = 0,
    key: Annotated[Path | None, typer.Option("--key", help="The sheet's key, where it is not beside it.")] = None,
    base_url: Annotated[list[str] | None, typer.Option("--judge-base-url", help="Endpoint of an api: judge.")] = None,
    api_key_env: Annotated[str | None, typer.Option("--judge-api-key-env", help="Variable with its key.")] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Requests in flight.")] = None,
    as_json: AsJson = False,
) -> None:
    """TC260-003's corpus checks: a sheet for people (>= 96%), its score, an automatic check (>= 98%).

    Exit codes: 0 pass, 1 fail, 5 inconclusive. The standard's own inspection is by people; this samples and counts.
    """
    from safekeel.corpus.inspection_rows import check_part, read_rows

    if sum(bool(chosen) for chosen in (sheet, score, check)) != 1:
        raise UsageError("Name one of --sheet OUT.csv, --score FILLED.csv (one per reader), or --check KIND:NAME.")
    wanted = check_part(part)
    _refuse_stray_options(check, wanted, base_url, api_key_env)
    if sheet is not None:
        found = read_rows(corpus, wanted)
        _write_sheet(found, sheet, wanted, rows, per_source, seed, as_json)
        return
    if score:
        from safekeel.corpus.inspection_score import score_sheets

        found = read_rows(corpus, "whole")  # what was labelled is in the key
        result = score_sheets(found, score, key)
    else:
        found = read_rows(corpus, wanted)
        options = {"base_urls": base_url or [], "api_key_env": api_key_env, "concurrency": concurrency}
        result = _check(found, check or "", wanted, share, seed, options)
    _finish(found, result, as_json)


def _refuse_stray_options(check: str | None, part: str, base_url: list[str] | None, api_key_env: str | None) -> None:
    is_judge = (check or "").startswith("judge:")
    if (base_url or api_key_env) and not is_judge:
        raise UsageError("--judge-base-url and --judge-api-key-env are for --check judge:SPEC only.")
    if is_judge and part != "response":
        raise UsageError("--part whole: a judge reads the request and labels the response; leave --part out.")


def _write_sheet(found: Any, out: Path, part: Any, num_rows: int, per_source: int, seed: int, as_json: bool) -> None:
    from safekeel.corpus.inspection_sheet import key_path, too_few, write_sheet

    key = write_sheet(found, out, part=part, num_rows=num_rows, per_source=per_source, seed=seed)
    if warning := too_few(key):
        say(f"warning: {warning}")
    extra = sum(row.extra for row in key.rows)
    if as_json:
        files = {"sheet": str(out), "page": str(out.with_suffix(".html")), "key": str(key_path(out))}
        typer.echo(json.dumps(files | {"rows": len(key.rows) - extra, "extra": extra, "of": key.num_population}))
        return
    typer.echo(
        f"{out}: {len(key.rows) - extra:,} of {key.num_population:,} rows, a simple random sample"
        + (f"; {extra:,} more to top up sources" if extra else "")
        + f".\nGive people this CSV or {out.with_suffix('.html').name} (works offline), with "
        f"{out.with_suffix('.instructions.md').name}. Keep {key_path(out).name} to yourself.\n"
        f"Then: safekeel corpus inspect {found.path} --score FILLED.csv --key {key_path(out)}"
    )


def _check(
    found: Any, check: str, part: Any, share: float, seed: int, judge_options: Mapping[str, Any]
) -> dict[str, Any]:
    from safekeel.corpus.inspection import results_path
    from safekeel.corpus.inspection_check import check_by_judge, check_keywords
    from safekeel.corpus.keywords import read_keywords
    from safekeel.judges.open import open_judge
    from safekeel.progress import ProgressReporter

    kind, _, name = check.partition(":")
    if not name or kind not in ("keywords", "judge"):
        raise UsageError(f"--check {check!r}: expected keywords:FILE or judge:SPEC, such as judge:linear.")
    if kind == "keywords":
        return check_keywords(found, read_keywords(Path(name)), part=part, share=share, seed=seed)
    judge = open_judge(name, **judge_options)
    verdicts = results_path(found.path).with_suffix(f".{judge.version}.verdicts.jsonl")
    with ProgressReporter() as progress:
        return check_by_judge(found, judge, share=share, seed=seed, verdicts_file=verdicts, progress=progress)


def _finish(found: Any, result: Mapping[str, Any], as_json: bool) -> None:
    from safekeel.corpus.inspection import EXIT_CODES, record
    from safekeel.corpus.inspection_text import result_text

    path = record(found, result)
    if as_json:
        typer.echo(json.dumps(result, ensure_ascii=False, indent=2))
    else:
        typer.echo(f"{result_text(result)}\nwrote {path}")
    raise typer.Exit(EXIT_CODES[result["verdict"]])
