"""`safekeel`: the commands. Dispatch only.

Every command builds a configuration, calls one stage, and maps errors to exit codes.

Exit codes: 0 ok (gate: GO) · 1 gate NO-GO · 2 usage or configuration · 3 data · 4 engine · 5 gate INCONCLUSIVE · 130
interrupted.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.exceptions import TyperException

from safekeel import __version__
from safekeel.commands import bank
from safekeel.errors import SafeKeelError, UsageError

if TYPE_CHECKING:
    from safekeel.bench.command import JudgeRequest

app = typer.Typer(
    help="Make a reasoning LLM safe without making it dumber, and prove both.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
corpus_app = typer.Typer(help="The safety corpus.", no_args_is_help=True)
train_app = typer.Typer(help="Single training stages.", no_args_is_help=True)
nano_app = typer.Typer(help="The embedded nano model.", no_args_is_help=True)
app.add_typer(bank.app, name="bank")
app.add_typer(corpus_app, name="corpus")
app.add_typer(train_app, name="train")
app.add_typer(nano_app, name="nano")

Set = Annotated[list[str] | None, typer.Option("--set", metavar="a.b=c", help="Override one recipe key; repeatable.")]
Out = Annotated[Path, typer.Option("--out", help="Folder to write to.")]
JudgeName = Annotated[
    str,
    typer.Option("--judge", help="rules, linear, MODEL, or a panel of them. Items with a known answer need no judge."),
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
TestWords = Annotated[
    Path | None, typer.Option("--test-words", help="Word list of nano items, if not the packaged one.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def say(line: str) -> None:
    typer.echo(line, err=True)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


@app.command("run")
def run_loop(
    recipe: Annotated[str | None, typer.Argument(help="Recipe name, folder or .toml file; default: nano.")] = None,
    out: Out = Path("out/nano"),
    overrides: Set = None,
    force: Annotated[
        str | None, typer.Option("--force", metavar="STAGE", help="Redo this stage and what depends on it.")
    ] = None,
) -> None:
    """The whole loop: base, evaluation, corpus, SFT, selection, RL, evaluation, report."""
    from safekeel.config import load_recipe
    from safekeel.pipeline import Pipeline, Recipe

    resolved = Recipe.resolve(load_recipe(recipe or "nano", overrides or []))
    Pipeline(resolved, out, "safekeel run", say, force).run()
    card = json.loads((out / "90-report/card.json").read_text("utf-8"))
    typer.echo(f"{card['gate']['verdict']}  ·  report: {out / '90-report/report.html'}")


@app.command("eval")
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
    samples: Annotated[int, typer.Option(min=1, help="Completions per prompt.")] = 1,
    think: Annotated[str, typer.Option(help="default, none or forced.")] = "default",
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Default: the benchmark's own budget.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0.0, help="Default: 0; R1 models 0.6.")] = None,
    top_p: Annotated[float | None, typer.Option(min=0.0, max=1.0, help="Default: 1; R1 models 0.95.")] = None,
    tokenizer: Annotated[
        Path | None, typer.Option(help="Folder with the endpoint's tokenizer; --think none and forced need it.")
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="What the endpoint serves, such as a checkpoint's hash: part of the cache key.")
    ] = None,
    timeout: Annotated[float | None, typer.Option(min=1.0, help="Seconds without a byte from the endpoint.")] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Requests in flight, over all endpoints.")] = None,
    reuse: Annotated[list[Path] | None, typer.Option(help="Evaluation folder to take equal generations from.")] = None,
    taxonomy: Annotated[str, typer.Option(help="Risk taxonomy of the slices.")] = "tc260",
    limit: Annotated[int | None, typer.Option(min=1, help="N items of each benchmark, drawn with --seed.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Local copies of public data; default: $SAFEKEEL_DATA.")] = None,
    batch_size: Annotated[int, typer.Option(min=1)] = 64,
    seed: int = 0,
    test_words: TestWords = None,
    as_json: AsJson = False,
) -> None:
    """Generate, judge and score a model on benchmarks."""
    from safekeel.bench.command import EvalRequest, evaluate_model

    request = EvalRequest(
        model=model,
        benches=tuple(name.strip() for name in bench.split(",") if name.strip()),
        judge=_judge_request(judge, judge_base_url, judge_api_key_env, judge_card),
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
        reuse=tuple(reuse or ()),
    )
    _print_scores([row.model_dump() for row in evaluate_model(request, out, "safekeel eval", say)], as_json)


@app.command("score")
def rescore(
    folder: Annotated[Path, typer.Argument(help="An evaluation folder.")],
    judge: JudgeName = "linear",
    judge_base_url: JudgeUrl = None,
    judge_api_key_env: JudgeKeyVariable = None,
    judge_card: JudgeCardFile = None,
    test_words: TestWords = None,
    as_json: AsJson = False,
) -> None:
    """Judge and score stored completions again; the model is not called."""
    from safekeel.bench.command import rescore_folder

    request = _judge_request(judge, judge_base_url, judge_api_key_env, judge_card)
    _print_scores([row.model_dump() for row in rescore_folder(folder, request, test_words)], as_json)


def _judge_request(name: str, urls: list[str] | None, key_variable: str | None, card: Path | None) -> JudgeRequest:
    from safekeel.bench.command import JudgeRequest

    return JudgeRequest(name, tuple(urls or ()), key_variable, card=card)


def _print_scores(rows: list[dict], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    typer.echo(
        f"{'benchmark':<26}{'metric':<18}{'value':>7}  {'95% interval':<16}{'bounds':<16}{'n':>6}{'unscored':>10}"
    )
    for row in rows:
        if row["slice"] == "all":
            known = row["value"] is not None
            value = f"{row['value']:.3f}" if known else "?"
            interval = f"{row['low']:.3f}-{row['high']:.3f}" if known else "mostly unscored"
            bounds = f"{row['bound_low']:.3f}-{row['bound_high']:.3f}"
            mark = "" if row["headline"] else "  (judge without a card: no headline)"
            typer.echo(
                f"{row['benchmark']:<26}{row['metric']:<18}{value:>7}  {interval:<16}{bounds:<16}"
                f"{row['num_items']:>6}{row['num_unscored']:>10}{mark}"
            )


@app.command()
def gate(
    run_dir: Annotated[Path, typer.Argument(help="A run folder.")],
    rules: Annotated[
        Path | None, typer.Option("--rules", help="TOML file of rules; default: the packaged ones.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """GO, NO-GO or INCONCLUSIVE, with value, interval and verdict of each rule."""
    from safekeel.report.card import build_card

    result = build_card(run_dir, rules)["gate"]
    if as_json:
        typer.echo(json.dumps(result, ensure_ascii=False, indent=2))
    else:
        typer.echo(result["verdict"])
        for rule in result["rules"]:
            value = "missing" if rule["value"] is None else f"{rule['value']:.4f}"
            typer.echo(f"  {rule['verdict']:<13}{rule['name']:<34}{value:>9}  threshold {rule['threshold']}")
    raise typer.Exit({"GO": 0, "NO-GO": 1}.get(result["verdict"], 5))


@app.command()
def report(
    run_dir: Annotated[Path, typer.Argument(help="A run folder.")],
    out: Annotated[Path | None, typer.Option("--out", help="Default: RUN/90-report.")] = None,
) -> None:
    """Write card.json, report.md and report.html from a run's artefacts alone."""
    from safekeel.report.render import render

    target = out or run_dir / "90-report"
    render(run_dir, target)
    typer.echo(str(target / "report.html"))


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """What is installed, and what each missing extra would give."""
    from safekeel import doctor as checks

    found = checks.report()
    if as_json:
        typer.echo(json.dumps([check.__dict__ for check in found], ensure_ascii=False, indent=2))
    else:
        typer.echo(checks.as_text(found))


@nano_app.command("build")
def nano_build(out: Out, overrides: Set = None) -> None:
    """Build the nano base model from nothing on CPU (about ten minutes on two cores)."""
    from safekeel.config import load_recipe
    from safekeel.nano import model as nano
    from safekeel.pipeline import Recipe
    from safekeel.progress import ProgressReporter

    config = Recipe.resolve(load_recipe("nano", overrides or [])).nano.model_copy(update={"rebuild": True})
    with ProgressReporter() as progress:
        nano.build_stage(config, out, "safekeel nano build", say, progress)
    typer.echo(str(out / "model"))


@corpus_app.command("card")
def corpus_card(
    folder: Annotated[Path, typer.Argument(help="A corpus folder (10-corpus).")], as_json: AsJson = False
) -> None:
    """Print the data card of a corpus."""
    from safekeel.errors import DataError

    path = folder / ("card.json" if as_json else "card.md")
    if not path.exists():
        raise DataError(
            f"{path} does not exist; expected a folder written by the corpus stage, such as out/nano/10-corpus."
        )
    typer.echo(path.read_text("utf-8"))


def _train(stage_name: str, model: str, corpus: Path, out: Path, overrides: list[str] | None) -> None:
    from safekeel.pipeline import train_single

    if not model.startswith("hf:"):
        raise UsageError(f"MODEL {model!r}: training needs a local checkpoint folder, written hf:PATH.")
    train_single(stage_name, Path(model.removeprefix("hf:")), corpus, out, overrides or [], say)


@train_app.command("sft")
def train_sft(model: str, corpus: Annotated[Path, typer.Option("--corpus")], out: Out, overrides: Set = None) -> None:
    """Supervised fine-tuning on CORPUS/sft.jsonl."""
    _train("sft", model, corpus, out, overrides)


@train_app.command("grpo")
def train_grpo(model: str, corpus: Annotated[Path, typer.Option("--corpus")], out: Out, overrides: Set = None) -> None:
    """Balanced GRPO on CORPUS/rl.jsonl."""
    _train("rl", model, corpus, out, overrides)


INTERRUPTED = 130


def main() -> None:
    """Entry point: run the command, turn errors into a sentence and an exit code."""
    try:
        code = app(standalone_mode=False)  # typer turns Ctrl-C into this exit code
    except SafeKeelError as error:
        say(f"error: {error}")
        sys.exit(error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except TyperException as error:
        # Without the parameter's name the message would not say what to change.
        say(f"error: {error.format_message() if isinstance(error, typer.BadParameter) else error}")
        say("`safekeel --help` lists the commands, `safekeel COMMAND --help` their options.")
        sys.exit(UsageError.exit_code)
    except Exception as error:
        if os.environ.get("SAFEKEEL_TRACEBACK"):
            traceback.print_exc()
        say(f"unexpected error: {type(error).__name__}: {error}")
        say("This is a defect in SafeKeel; SAFEKEEL_TRACEBACK=1 prints where it happened.")
        sys.exit(70)
    if code == INTERRUPTED:
        say("interrupted; run the same command again to continue")
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
