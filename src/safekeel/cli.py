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
from typing import Annotated

import typer
from typer.exceptions import TyperException

from safekeel import __version__
from safekeel.commands import attack, bank, corpus, data, evaluation, judge, merge, nano, select, train
from safekeel.commands.common import AsJson, Out, Set, say
from safekeel.errors import SafeKeelError, UsageError

app = typer.Typer(
    help="Make a reasoning LLM safe without making it dumber, and prove both.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
GROUPS = {"bank": bank, "corpus": corpus, "data": data, "judge": judge, "nano": nano, "train": train}
for _name, _module in GROUPS.items():
    app.add_typer(_module.app, name=_name)
app.command("attack")(attack.attack)
app.command("eval")(evaluation.evaluate)
app.command("score")(evaluation.rescore)
app.command("compare")(evaluation.compare)
app.command("merge")(merge.merge)
app.command("select")(select.select)


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
    """The whole loop: base, evaluation, corpus, SFT, selection, RL, evaluation, report; or an evaluation recipe."""
    from safekeel.config import load_recipe
    from safekeel.corpus.build import is_corpus
    from safekeel.evaluations import EvaluationRecipe, is_evaluation, run_evaluations
    from safekeel.train.launch.recipe import is_training

    tables = load_recipe(recipe or "nano", overrides or [])
    if is_evaluation(tables):
        if force is not None:
            raise UsageError(f"--force {force}: {recipe} has no stages; delete the folder of an evaluation to redo it.")
        for path in run_evaluations(EvaluationRecipe.resolve(tables), out, "safekeel run", say):
            typer.echo(str(path))
        return
    if is_training(tables):
        raise UsageError(
            f"{recipe} is for training a real model, stage by stage: safekeel train sft hf:MODEL --recipe {recipe} "
            "--corpus DIR --out DIR [--dry-run]; its README has the commands."
        )
    if is_corpus(tables):
        raise UsageError(f"{recipe} makes a corpus, not a run: safekeel corpus build {recipe} --target MODEL.")
    from safekeel.pipeline import Pipeline, Recipe

    Pipeline(Recipe.resolve(tables), out, "safekeel run", say, force).run()
    card = json.loads((out / "90-report/card.json").read_text("utf-8"))
    typer.echo(f"{card['gate']['verdict']}  ·  report: {out / '90-report/report.html'}")


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
        for warning in result["warnings"]:
            typer.echo(f"  WARNING: {warning}")
    raise typer.Exit({"GO": 0, "NO-GO": 1}.get(result["verdict"], 5))


@app.command()
def report(
    run_dir: Annotated[Path, typer.Argument(help="Folder of a run, an evaluation or an attack.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Default: RUN/90-report, or the folder of the evaluation or attack.")
    ] = None,
) -> None:
    """A run's card and report, an evaluation's TC260 page or an attack's page, made from what lies in the folder."""
    from safekeel.attack_run.again import is_attack, page_again

    if is_attack(run_dir):
        typer.echo(str(page_again(run_dir, out, say)))
        return
    from safekeel.report.compliance import render_compliance
    from safekeel.report.render import render

    if (run_dir / "scores.json").exists():
        render_compliance(run_dir, out or run_dir)
        typer.echo(str((out or run_dir) / "tc260.html"))
        return
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
