"""Options that several commands share: how a model is reached and sampled, and who judges it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from safekeel.bench.command import JudgeRequest

JudgeName = Annotated[
    str,
    typer.Option(
        "--judge",
        help="rules, linear, api:NAME, guard:MODEL, vote:A,B,C or cascade:A,B; graded items need none.",
    ),
]
BaseUrl = Annotated[
    list[str] | None, typer.Option("--base-url", help="Of an OpenAI-compatible endpoint; repeatable: balanced.")
]
KeyVariable = Annotated[
    str | None, typer.Option("--api-key-env", metavar="NAME", help="Environment variable that holds the key.")
]
JudgeUrl = Annotated[list[str] | None, typer.Option("--judge-base-url", help="Endpoint of a judge that is a model.")]
JudgeKeyVariable = Annotated[str | None, typer.Option("--judge-api-key-env", metavar="NAME")]
JudgeCardFile = Annotated[
    Path | None, typer.Option("--judge-card", help="Card of the judge, from `safekeel judge calibrate`.")
]
JudgeRubric = Annotated[
    str, typer.Option("--judge-rubric", help="Of a language model: chisafetybench (four classes) or strongreject.")
]
JudgeSecond = Annotated[
    str | None, typer.Option("--judge-second", help="MODEL asked where a language model's reply cannot be read.")
]
TestWords = Annotated[
    Path | None, typer.Option("--test-words", help="Word list of nano items, if not the packaged one.")
]

Think = Annotated[str, typer.Option(help="default, none or forced.")]
Temperature = Annotated[float | None, typer.Option(min=0.0, help="Default: 0; R1 models 0.6.")]
TopP = Annotated[float | None, typer.Option(min=0.0, max=1.0, help="Default: 1; R1 models 0.95.")]
TokenizerFolder = Annotated[
    Path | None,
    typer.Option(help="Folder with the endpoint's tokenizer; --think none, forced and prefills need it."),
]
Revision = Annotated[
    str | None, typer.Option(help="What the endpoint serves, such as a checkpoint's hash: part of the cache key.")
]
Timeout = Annotated[float | None, typer.Option(min=1.0, help="Seconds without a byte from the endpoint.")]
Concurrency = Annotated[int | None, typer.Option(min=1, help="Requests in flight, over all endpoints.")]
Reuse = Annotated[list[Path] | None, typer.Option(help="Evaluation folder to take equal generations from.")]
Taxonomy = Annotated[str, typer.Option(help="Risk taxonomy of the slices.")]
BatchSize = Annotated[int, typer.Option(min=1)]
PlainTemplate = Annotated[
    bool, typer.Option("--plain-template", help="hf: ask a base model without a chat template in a plain dialogue.")
]


def judge_request(
    name: str, urls: list[str] | None, key_variable: str | None, card: Path | None, rubric: str, second: str | None
) -> JudgeRequest:
    """The judge that the options name.

    Raises:
        UsageError: no judge has that name.
    """
    from safekeel.bench.command import JudgeRequest
    from safekeel.judges.open import check_name

    check_name(name)
    return JudgeRequest(name, tuple(urls or ()), key_variable, card=card, rubric=rubric, second=second)
