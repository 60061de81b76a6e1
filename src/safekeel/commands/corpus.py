"""`safekeel corpus`: build, look at, inspect and export a safety corpus."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from safekeel.commands.common import AsJson, DataDir, Out, Set, say
from safekeel.commands.corpus_export import corpus_export
from safekeel.commands.corpus_inspect import corpus_inspect

app = typer.Typer(help="The safety corpus: build, card, inspect, export.", no_args_is_help=True)
app.command("inspect")(corpus_inspect)
app.command("export")(corpus_export)
Urls = list[str] | None


@app.command("build")
def corpus_build(
    recipe: Annotated[
        str | None, typer.Argument(help="Recipe name, folder or .toml file; default: safe-corpus.")
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", help="MODEL to be trained: answers replay, and writes its own corpus.")
    ] = None,
    out: Out = Path("out/corpus"),
    base_url: Annotated[Urls, typer.Option("--base-url", help="Endpoint of an api: target; repeatable.")] = None,
    api_key_env: Annotated[str | None, typer.Option("--api-key-env", metavar="NAME")] = None,
    revision: Annotated[str | None, typer.Option(help="What the endpoint serves: part of the cache key.")] = None,
    teacher: Annotated[
        str | None, typer.Option("--teacher", help="MODEL that writes safe reasoning; default: the target itself.")
    ] = None,
    teacher_base_url: Annotated[Urls, typer.Option("--teacher-base-url")] = None,
    teacher_api_key_env: Annotated[str | None, typer.Option("--teacher-api-key-env", metavar="NAME")] = None,
    labeller: Annotated[
        list[str] | None,
        typer.Option("--labeller", help="MODEL that labels each prompt's risk; repeatable: a panel votes."),
    ] = None,
    labeller_base_url: Annotated[Urls, typer.Option("--labeller-base-url")] = None,
    labeller_api_key_env: Annotated[str | None, typer.Option("--labeller-api-key-env", metavar="NAME")] = None,
    judge: Annotated[
        str, typer.Option("--judge", help="rules, linear, api:NAME, guard:MODEL, vote:A,B,C or cascade:A,B.")
    ] = "linear",
    judge_base_url: Annotated[Urls, typer.Option("--judge-base-url")] = None,
    judge_api_key_env: Annotated[str | None, typer.Option("--judge-api-key-env", metavar="NAME")] = None,
    tokenizer: Annotated[
        Path | None, typer.Option("--tokenizer", help="Folder with the target's tokenizer: counts tokens exactly.")
    ] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Requests in flight per model.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Of hf: models.")] = 64,
    taxonomy: Annotated[str, typer.Option(help="Risk taxonomy.")] = "tc260",
    data_dir: DataDir = None,
    overrides: Set = None,
    as_json: AsJson = False,
) -> None:
    """Make a safe-reasoning corpus from sources; continues an interrupted build."""
    from safekeel.bench.command import JudgeRequest
    from safekeel.corpus.command import BuildRequest, ModelRequest, build_corpus, require_target

    request = BuildRequest(
        recipe=recipe,
        overrides=tuple(overrides or ()),
        target=ModelRequest(
            require_target(target), tuple(base_url or ()), api_key_env, revision, concurrency, batch_size
        ),
        teacher=ModelRequest(teacher, tuple(teacher_base_url or ()), teacher_api_key_env, None, concurrency, batch_size)
        if teacher
        else None,
        labellers=tuple(
            ModelRequest(name, tuple(labeller_base_url or ()), labeller_api_key_env, None, concurrency, batch_size)
            for name in labeller or ()
        ),
        judge=JudgeRequest(judge, tuple(judge_base_url or ()), judge_api_key_env, concurrency),
        tokenizer=tokenizer,
        data_dir=data_dir,
        taxonomy=taxonomy,
    )
    card = build_corpus(request, out, "safekeel corpus build", say)
    if as_json:
        typer.echo(json.dumps(card, ensure_ascii=False, indent=2))
    else:
        roles = ", ".join(f"{role} {count}" for role, count in card["by_role"].items())
        typer.echo(f"{card['samples']} samples ({roles}), {card['rl_prompts']['total']} RL prompts  ·  {out}/card.html")


@app.command("card")
def corpus_card(
    folder: Annotated[Path, typer.Argument(help="A corpus folder (10-corpus).")], as_json: AsJson = False
) -> None:
    """Print the data card of a corpus, with the inspections made since."""
    from safekeel.corpus.card import card_markdown, load_card

    card = load_card(folder)
    typer.echo(json.dumps(card, ensure_ascii=False, indent=2) if as_json else card_markdown(card))
