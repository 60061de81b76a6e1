"""`safekeel select`: checkpoints x alpha on a validation set, one chosen by confidence bounds. `cli.py` mounts it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from safekeel.commands.common import AsJson, DataDir, Out, Set, say
from safekeel.commands.merge import Base
from safekeel.commands.options import (
    BatchSize,
    JudgeCardFile,
    JudgeKeyVariable,
    JudgeName,
    JudgeRubric,
    JudgeSecond,
    JudgeUrl,
    Temperature,
    TestWords,
    judge_request,
)
from safekeel.errors import UsageError

ALPHAS = (0.25, 0.5, 0.75, 1.0)  # the grid of DESIGN and issue 5


def select(
    sources: Annotated[
        list[Path], typer.Argument(help="A run, folders of checkpoint-N, model folders or LoRA adapters.")
    ],
    bench: Annotated[
        str, typer.Option("--bench", help="Comma-separated benchmarks: risky, harmless and graded items are needed.")
    ],
    out: Out,
    base: Base = None,
    alpha: Annotated[str, typer.Option("--alpha", help="Comma-separated; 1 = the checkpoint itself.")] = "",
    rule: Annotated[str, typer.Option(help="bounds (against the base) or slack (against each other).")] = "bounds",
    capability_budget: Annotated[float | None, typer.Option(help="Points; default 1.")] = None,
    over_refusal_budget: Annotated[float | None, typer.Option(help="Points above the base; default 2.")] = None,
    overrides: Set = None,
    engine: Annotated[str, typer.Option(help="hf or vllm.")] = "hf",
    judge: JudgeName = "linear",
    judge_base_url: JudgeUrl = None,
    judge_api_key_env: JudgeKeyVariable = None,
    judge_card: JudgeCardFile = None,
    judge_rubric: JudgeRubric = "chisafetybench",
    judge_second: JudgeSecond = None,
    limit: Annotated[int | None, typer.Option(min=1, help="N items of each benchmark, drawn with --seed.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Default: the largest of the benchmarks.")] = None,
    temperature: Temperature = None,
    batch_size: BatchSize = 64,
    data_dir: DataDir = None,
    seed: Annotated[int | None, typer.Option(help="Default: 1.")] = None,
    test_words: TestWords = None,
    as_json: AsJson = False,
) -> None:
    """Measure every checkpoint at every alpha and write the best to OUT/model. --set select.KEY=VALUE for the rest."""
    from safekeel.commands.merge import model_or_adapter
    from safekeel.config import build, load_recipe
    from safekeel.train.select import SelectConfig
    from safekeel.train.select_command import SelectRequest, as_text, select_models

    section = dict(load_recipe("nano", overrides or []).get("select", {}))
    section |= {"alphas": _alphas(alpha) if alpha else section.get("alphas", list(ALPHAS)), "rule": rule}
    for key, points in (("capability_budget", capability_budget), ("over_refusal_budget", over_refusal_budget)):
        section |= {key: points / 100} if points is not None else {}
    section |= {"seed": seed} if seed is not None else {}
    request = SelectRequest(
        sources=tuple(sources),
        base=model_or_adapter(base) if base is not None else None,
        benches=tuple(name.strip() for name in bench.split(",") if name.strip()),
        config=build(SelectConfig, section, "select"),
        judge=judge_request(judge, judge_base_url, judge_api_key_env, judge_card, judge_rubric, judge_second),
        engine=engine,
        limit=limit,
        data_dir=data_dir,
        max_tokens=max_tokens,
        temperature=temperature,
        batch_size=batch_size,
        test_words=test_words,
    )
    table = select_models(request, out, say)
    typer.echo(json.dumps(table, ensure_ascii=False, indent=2) if as_json else as_text(table))


def _alphas(text: str) -> list[float]:
    """
    Raises:
        UsageError: no numbers.
    """
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise UsageError(f"--alpha {text!r}: expected numbers with commas, such as 0.25,0.5,0.75,1.") from error
