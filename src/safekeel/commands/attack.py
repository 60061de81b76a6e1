"""`safekeel attack`: a model under attack families and searches. `cli.py` mounts it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from safekeel.commands.common import AsJson, DataDir, say
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
from safekeel.errors import UsageError, nearest, shown

if TYPE_CHECKING:
    from safekeel.attack_run.prepare import AttackRequest

COMMAND = "safekeel attack"


def attack(
    model: Annotated[
        str | None,
        typer.Argument(help="hf:PATH_OR_ID, vllm:PATH_OR_ID, api:NAME (with --base-url), scripted:FILE."),
    ] = None,
    goals: Annotated[
        str | None,
        typer.Option("--goals", help="nano, starter, benchmark names such as harmbench, or a file of requests."),
    ] = None,
    goals_split: Annotated[
        str | None, typer.Option("--goals-split", help="Of nano: train, validation or test (the default).")
    ] = None,
    lang: Annotated[str | None, typer.Option("--lang", help="Goals in zh or en only.")] = None,
    family: Annotated[
        str | None,
        typer.Option("--family", help="Comma-separated families or subsets (--list; default all), beside direct."),
    ] = None,
    wording: Annotated[
        str | None, typer.Option("--wording", help="train, validation or test; default: the nano split's, else test.")
    ] = None,
    pack: Annotated[Path | None, typer.Option("--pack", help="A frozen pack.jsonl, run again exactly.")] = None,
    pack_sha256: Annotated[
        str | None, typer.Option("--pack-sha256", metavar="HASH", help="Refuse a pack with another hash.")
    ] = None,
    search: Annotated[
        str, typer.Option("--search", help="Comma-separated strategies that look at the replies, such as bandit.")
    ] = "",
    budget: Annotated[
        int | None, typer.Option(min=1, help="Target calls per goal and strategy of --search; default 20.")
    ] = None,
    search_option: Annotated[
        list[str] | None,
        typer.Option("--search-option", metavar="NAME.PARAMETER=VALUE", help="Such as gcg.search_width=64 (--list)."),
    ] = None,
    attacker: Annotated[
        str | None, typer.Option("--attacker", help="MODEL that writes the prompts of a search.")
    ] = None,
    attacker_base_url: Annotated[
        list[str] | None, typer.Option("--attacker-base-url", help="Endpoint of --attacker api:NAME.")
    ] = None,
    attacker_api_key_env: Annotated[
        str | None,
        typer.Option("--attacker-api-key-env", metavar="NAME", help="Environment variable with its key."),
    ] = None,
    base: Annotated[
        list[Path] | None,
        typer.Option("--base", help="Attack folder of the model before training; repeatable: same pack, other pack."),
    ] = None,
    transfer: Annotated[
        list[Path] | None, typer.Option("--transfer", help="Attack folder of another model on the same pack.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder to write to.")] = None,
    list_families: Annotated[bool, typer.Option("--list", help="Print families, subsets and searches.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what it would cost, and ask nothing.")] = False,
    base_url: BaseUrl = None,
    api_key_env: KeyVariable = None,
    judge: JudgeName = "linear",
    judge_base_url: JudgeUrl = None,
    judge_api_key_env: JudgeKeyVariable = None,
    judge_card: JudgeCardFile = None,
    judge_rubric: JudgeRubric = "chisafetybench",
    judge_second: JudgeSecond = None,
    samples: Annotated[int, typer.Option(min=1, help="Completions per prompt of the pack.")] = 1,
    think: Think = "default",
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Default: the budget of the goals' source.")] = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    tokenizer: TokenizerFolder = None,
    revision: Revision = None,
    timeout: Timeout = None,
    concurrency: Concurrency = None,
    reuse: Reuse = None,
    taxonomy: Taxonomy = "tc260",
    limit: Annotated[int | None, typer.Option(min=1, help="N goals of each source, drawn with --seed.")] = None,
    data_dir: DataDir = None,
    batch_size: BatchSize = 64,
    plain_template: PlainTemplate = False,
    seed: int = 0,
    test_words: TestWords = None,
    as_json: AsJson = False,
) -> None:
    """Attack a model with families of disguises and searches, beside the same goals asked plainly."""
    from safekeel.attack_run import terminal
    from safekeel.attack_run.command import attack_model
    from safekeel.attack_run.goals import GoalRequest
    from safekeel.attack_run.prepare import AttackRequest
    from safekeel.attack_run.search import DEFAULT_BUDGET, SearchRequest
    from safekeel.bench.command import EvalRequest

    if list_families:
        typer.echo(json.dumps(terminal.listing(), ensure_ascii=False, indent=2) if as_json else terminal.list_text())
        return
    if model is None:
        raise UsageError(
            "no MODEL to attack: name one, such as hf:PATH or api:NAME (safekeel attack --list needs none)."
        )
    if out is None and not dry_run:
        raise UsageError("--out DIR is missing: the folder that the attack is written to (--dry-run needs none).")
    if budget is not None and not _names(search):
        raise UsageError(f"--budget {budget}: only --search has a budget; name a strategy, such as --search bandit.")
    if pack is not None:
        _refuse_with_pack(goals=goals, goals_split=goals_split, lang=lang, family=family, wording=wording, limit=limit)
    request = AttackRequest(
        target=EvalRequest(
            model=model,
            benches=(),
            judge=judge_request(judge, judge_base_url, judge_api_key_env, judge_card, judge_rubric, judge_second),
            samples=samples, think=think, max_tokens=max_tokens, temperature=temperature, top_p=top_p, limit=limit,
            data_dir=data_dir, seed=seed, taxonomy=taxonomy, test_words=test_words, base_urls=tuple(base_url or ()),
            api_key_env=api_key_env, revision=revision, tokenizer=tokenizer, timeout=timeout, concurrency=concurrency,
            batch_size=batch_size, plain_template=plain_template, reuse=tuple(reuse or ()),
        ),
        goals=GoalRequest(
            goals, goals_split, cast(Any, _one_of("--lang", lang, ("zh", "en"))), limit, data_dir, seed, taxonomy,
            test_words,
        ) if goals is not None else None,
        families=_names("all" if family is None else family),
        wording=cast(Any, _one_of("--wording", wording, ("train", "validation", "test"))),
        pack=pack,
        pack_sha256=pack_sha256,
        search=SearchRequest(
            _names(search), budget or DEFAULT_BUDGET, attacker, tuple(attacker_base_url or ()), attacker_api_key_env,
            concurrency, batch_size, seed, timeout, tuple(search_option or ()),
        ),
        base=tuple(base or ()),
        transfer=tuple(transfer or ()),
    )  # fmt: skip
    if dry_run or out is None:
        _print_plan(request, as_json)
        return
    found = attack_model(request, out, COMMAND, say)
    typer.echo(json.dumps(found, ensure_ascii=False, indent=2) if as_json else terminal.as_text(found, out))


def _print_plan(request: AttackRequest, as_json: bool) -> None:
    from safekeel.attack_run.cost import as_text
    from safekeel.attack_run.prepare import prepare

    prepared = prepare(request, say)
    plan: Mapping[str, Any] = {"pack": prepared.pack.sha256, **prepared.plan.as_dict()}
    text = as_text(prepared.plan, prepared.pack.sha256)
    typer.echo(json.dumps(plan, ensure_ascii=False, indent=2) if as_json else text)


def _refuse_with_pack(**options: object) -> None:
    """
    Raises:
        UsageError: an option that would make another pack.
    """
    for name, value in options.items():
        if value is not None:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"{option} {value}: a frozen pack is run exactly as it is; leave out {option} or --pack.")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _one_of(option: str, value: str | None, known: tuple[str, ...]) -> str | None:
    """
    Raises:
        UsageError: none of these values.
    """
    if value is not None and value not in known:
        raise UsageError(f"{option} {shown(value)}: expected {', '.join(known)}.{nearest(value, known)}")
    return value
