"""`safekeel eval`, `score` and `compare`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from safekeel.commands.common import AsJson, DataDir, Out, say
from safekeel.commands.options import (
    BaseUrl,
    BatchSize,
    Concurrency,
    JudgeCardFile,
    JudgeKeyVariable,
    JudgeName,
    JudgeRubric,
    JudgeSecond,
    JudgeUrl,
    KeyVariable,
    PlainTemplate,
    Reuse,
    Revision,
    Taxonomy,
    Temperature,
    TestWords,
    Think,
    Timeout,
    TokenizerFolder,
    TopP,
    judge_request,
)


def evaluate(
    model: Annotated[
        str, typer.Argument(help="hf:PATH_OR_ID, vllm:PATH_OR_ID, api:NAME (with --base-url), scripted:FILE.")
    ],
    bench: Annotated[str, typer.Option("--bench", help="Comma-separated benchmark names.")],
    out: Out,
    base_url: BaseUrl = None,
    api_key_env: KeyVariable = None,
    judge: JudgeName = "linear",
    judge_base_url: JudgeUrl = None,
    judge_api_key_env: JudgeKeyVariable = None,
    judge_card: JudgeCardFile = None,
    judge_rubric: JudgeRubric = "chisafetybench",
    judge_second: JudgeSecond = None,
    samples: Annotated[int, typer.Option(min=1, help="Completions per prompt.")] = 1,
    think: Think = "default",
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Default: the benchmark's own budget.")] = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    tokenizer: TokenizerFolder = None,
    revision: Revision = None,
    timeout: Timeout = None,
    concurrency: Concurrency = None,
    reuse: Reuse = None,
    taxonomy: Taxonomy = "tc260",
    limit: Annotated[int | None, typer.Option(min=1, help="N items of each benchmark, drawn with --seed.")] = None,
    data_dir: DataDir = None,
    batch_size: BatchSize = 64,
    plain_template: PlainTemplate = False,
    seed: int = 0,
    test_words: TestWords = None,
    as_json: AsJson = False,
) -> None:
    """Generate, judge and score a model on benchmarks."""
    from safekeel.bench.command import EvalRequest, evaluate_model

    request = EvalRequest(
        model=model,
        benches=tuple(name.strip() for name in bench.split(",") if name.strip()),
        judge=judge_request(judge, judge_base_url, judge_api_key_env, judge_card, judge_rubric, judge_second),
        samples=samples,
        think=think,
        max_tokens=max_tokens,
        temperature=temperature,
        top_p=top_p,
        limit=limit,
        data_dir=data_dir,
        seed=seed,
        taxonomy=taxonomy,
        test_words=test_words,
        base_urls=tuple(base_url or ()),
        api_key_env=api_key_env,
        revision=revision,
        tokenizer=tokenizer,
        timeout=timeout,
        concurrency=concurrency,
        batch_size=batch_size,
        plain_template=plain_template,
        reuse=tuple(reuse or ()),
    )
    _print_scores([row.model_dump() for row in evaluate_model(request, out, "safekeel eval", say)], as_json)


def rescore(
    folder: Annotated[Path, typer.Argument(help="An evaluation folder.")],
    judge: JudgeName = "linear",
    judge_base_url: JudgeUrl = None,
    judge_api_key_env: JudgeKeyVariable = None,
    judge_card: JudgeCardFile = None,
    judge_rubric: JudgeRubric = "chisafetybench",
    judge_second: JudgeSecond = None,
    test_words: TestWords = None,
    as_json: AsJson = False,
) -> None:
    """Judge and score stored completions again; the model is not called."""
    from safekeel.bench.command import rescore_folder

    request = judge_request(judge, judge_base_url, judge_api_key_env, judge_card, judge_rubric, judge_second)
    _print_scores([row.model_dump() for row in rescore_folder(folder, request, test_words)], as_json)


def _print_scores(rows: list[dict], as_json: bool) -> None:
    """The slices `all`; every other slice is in `scores.json`."""
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    shown = [row for row in rows if row["slice"] == "all"]
    typer.echo(
        f"{'benchmark':<24}{'metric':<24}{'value':>7}  {'95% interval':<16}{'bounds':<16}{'n':>6}{'unscored':>10}"
    )
    for row in shown:
        known = row["value"] is not None
        value = f"{row['value']:.3f}" if known else "?"
        interval = f"{row['low']:.3f}-{row['high']:.3f}" if known else "mostly unscored"
        bounds = f"{row['bound_low']:.3f}-{row['bound_high']:.3f}"
        mark = "" if row["headline"] else " *"
        typer.echo(
            f"{row['benchmark']:<24}{row['metric']:<24}{value:>7}  {interval:<16}{bounds:<16}"
            f"{row['num_items']:>6}{row['num_unscored']:>10}{mark}"
        )
    if any(not row["headline"] for row in shown):
        judges = sorted({str(row["judge"]) for row in shown if not row["headline"]})
        typer.echo(f"* no headline: no card of {', '.join(judges)} carries this question in this language")


def compare(
    before: Annotated[Path, typer.Argument(help="Evaluation folder (or run folder) of the model before.")],
    after: Annotated[Path, typer.Argument(help="That of the model after.")],
    basket: Annotated[
        str | None, typer.Option(help="Benchmarks of the capability loss; default: all of ability that both have.")
    ] = None,
    budget: Annotated[float, typer.Option(min=0.0, help="Allowed capability loss in percentage points.")] = 1.0,
    as_json: AsJson = False,
) -> None:
    """Two models on the same items: differences with intervals, flips, and whether ability was kept."""
    from safekeel.report.pairwise import as_text, compare_folders

    names = [name.strip() for name in basket.split(",") if name.strip()] if basket else None
    result = compare_folders(before, after, names, budget / 100)
    typer.echo(json.dumps(result, ensure_ascii=False, indent=2) if as_json else as_text(result))
