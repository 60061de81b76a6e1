"""`safekeel judge`: what a judge is worth, on labelled sets and on a run's own rows."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from safekeel.commands.common import AsJson, DataDir, say
from safekeel.errors import UsageError
from safekeel.files import atomic_write_json, make_folder

if TYPE_CHECKING:
    from safekeel.judges.calibrate import JudgeSet
    from safekeel.judges.label_sources import LabelledSet

app = typer.Typer(help="Judges: their agreement with labels, and with people on your own run.", no_args_is_help=True)
JudgeSpec = Annotated[str, typer.Option("--judge", help="rules, linear, or as in `safekeel eval --judge`.")]
Sources = Annotated[
    list[str] | None, typer.Option("--source", help="xstest, do-not-answer, jade, zh-judge; repeatable; default: all.")
]


@app.command()
def calibrate(
    judge: JudgeSpec = "linear",
    source: Sources = None,
    data_dir: DataDir = None,
    out: Annotated[Path | None, typer.Option("--out", help="File of the card; default: print only.")] = None,
    base_url: Annotated[list[str] | None, typer.Option("--judge-base-url", help="Endpoint of an api: judge.")] = None,
    api_key_env: Annotated[str | None, typer.Option("--judge-api-key-env", help="Variable with its key.")] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Requests in flight.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure a judge on labelled sets; write its card."""
    from safekeel.judges.calibrate import calibrate as measure
    from safekeel.judges.calibrate import open_sources
    from safekeel.judges.card_table import card_text
    from safekeel.judges.label_sources import SOURCES
    from safekeel.judges.open import open_judge

    if judge == "linear" and not source:
        from safekeel.judges.linear_card import make_card

        others = [name for name in SOURCES if name != "xstest"]  # which it was trained on: out of fold
        card = make_card(data_dir, others, _command(), say)
    else:
        opened = open_judge(judge, base_urls=base_url or [], api_key_env=api_key_env, concurrency=concurrency)
        sets = open_sources(source or list(SOURCES), data_dir)
        judge_set, notes = _out_of_fold(judge, sets, data_dir)
        card = measure(opened, sets, command=_command(), judge_set=judge_set, notes=notes)
    if out is not None:
        make_folder(out.parent)
        atomic_write_json(out, card.model_dump())
        say(f"wrote {out}")
    typer.echo(json.dumps(_card_json(card), ensure_ascii=False, indent=2) if as_json else card_text(card))
    if not as_json:
        _print_baselines(source, data_dir)


@app.command()
def show(
    judge: Annotated[str, typer.Argument(help="A judge with a packaged card (rules, linear), or a card's file.")],
    as_json: AsJson = False,
) -> None:
    """Print a judge's card."""
    from safekeel.judges.base import read_card
    from safekeel.judges.card_table import card_text
    from safekeel.judges.open import open_judge

    card = read_card(Path(judge)) if judge.endswith(".json") else open_judge(judge).card
    if card is None:
        raise UsageError(f"{judge} has no card for its version; make one: safekeel judge calibrate --judge {judge}.")
    typer.echo(json.dumps(_card_json(card), ensure_ascii=False, indent=2) if as_json else card_text(card))


@app.command()
def baselines(source: Sources = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """What anyone gets without a judge: people with people, string match, keywords, answer length."""
    _print_baselines(source, data_dir, as_json)


@app.command()
def sheet(
    folder: Annotated[Path, typer.Argument(help="An evaluation folder (prompts, completions, verdicts).")],
    out: Annotated[Path, typer.Option("--out", help="The sheet: a CSV that Excel opens.")],
    n: Annotated[int, typer.Option("--n", min=1, help="Rows to label.")] = 300,
    seed: int = 0,
    part: Annotated[str, typer.Option(help="answer, or both (thought and answer).")] = "answer",
    annotators: Annotated[int, typer.Option(min=1, max=9, help="People who label; one column each.")] = 1,
    bench: Annotated[str | None, typer.Option("--bench", help="Only rows of this benchmark.")] = None,
    allow_small: Annotated[bool, typer.Option("--allow-small", help="Fewer than 300 rows, for a trial.")] = False,
) -> None:
    """Export random rows of a run for blind labelling by people."""
    from safekeel.judges.sheet import key_path, write_sheet

    if part not in ("answer", "both"):
        raise UsageError(f"--part {part!r}: expected answer or both.")
    if out.suffix.lower() != ".csv":
        raise UsageError(f"--out {out}: expected a name that ends with .csv.")
    key = write_sheet(
        folder,
        out,
        n,
        seed=seed,
        part="both" if part == "both" else "answer",
        annotators=annotators,
        benchmark=bench,
        allow_small=allow_small,
    )
    typer.echo(
        f"{out}: {len(key.rows)} of {key.num_population} rows; {key.num_unreadable} without an answer left out.\n"
        f"Give it to people with {out.with_suffix('.instructions.md').name}. Keep {key_path(out).name} to yourself.\n"
        f"Then: safekeel judge import {out} --out DIR"
    )


@app.command("import")
def import_labels(
    sheet: Annotated[Path, typer.Argument(help="The filled sheet.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for card.json and corrected.json.")],
    key: Annotated[Path | None, typer.Option("--key", help="The sheet's key, where it is not beside it.")] = None,
    run: Annotated[Path | None, typer.Option("--run", help="The run, where it was moved.")] = None,
    labelled_by: Annotated[str, typer.Option(help="human or model; never call a model's labels human.")] = "human",
    as_json: AsJson = False,
) -> None:
    """Turn a labelled sheet into a card for this run's judge, and into rates without its errors."""
    from safekeel.judges.card_table import card_text
    from safekeel.judges.sheet_import import corrected_text, import_sheet

    if labelled_by not in ("human", "model"):
        raise UsageError(f"--labelled-by {labelled_by!r}: expected human or model.")
    found = import_sheet(sheet, key=key, run_dir=run, label_source="human" if labelled_by == "human" else "model")
    make_folder(out)
    atomic_write_json(out / "card.json", found.card.model_dump())
    atomic_write_json(out / "corrected.json", found.corrected)
    if as_json:
        typer.echo(json.dumps(found.corrected, ensure_ascii=False, indent=2))
    else:
        typer.echo(
            f"{card_text(found.card)}\n\n{corrected_text(found.corrected)}\n\nwrote {out}/card.json, corrected.json"
        )


@app.command()
def fit(
    data_dir: DataDir = None,
    out: Annotated[Path | None, typer.Option("--out", help="File of the model; default: the packaged one.")] = None,
) -> None:
    """Fit the linear judge again, on its public and packaged training data."""
    from safekeel.judges.linear_data import read_training
    from safekeel.judges.linear_fit import fit as fit_linear
    from safekeel.judges.linear_model import packaged_model, read_model

    path = out or packaged_model()
    make_folder(path.parent)
    fit_linear(read_training(data_dir), say=typer.echo).model.write(path)
    typer.echo(f"wrote {path}: version {read_model(path).version}; make its card with `safekeel judge calibrate`")


def _print_baselines(source: list[str] | None, data_dir: Path | None, as_json: bool = False) -> None:
    from safekeel.judges.baselines import Baseline, xstest_baselines, zh_baselines
    from safekeel.judges.calibrate import open_sources
    from safekeel.judges.card_table import baselines_text

    makers = {"xstest": xstest_baselines, "zh-judge": zh_baselines}
    found: dict[str, list[Baseline]] = {}
    for name, make in makers.items():
        if source is None or name in source:
            found[name] = make(open_sources([name], data_dir)[0])
    if as_json:
        rows = {name: [row._asdict() for row in each] for name, each in found.items()}
        typer.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    for name, each in found.items():
        typer.echo("\n" + baselines_text(f"baselines on {name}", each))


def _card_json(card: Any) -> dict[str, Any]:
    from safekeel.judges.card_table import agreement_json

    shown: dict[str, Any] = card.model_dump()
    return shown | {"agreement": [agreement_json(row) for row in card.agreement]}


def _out_of_fold(judge: str, sets: Sequence[LabelledSet], data_dir: Path | None) -> tuple[JudgeSet | None, list[str]]:
    """A judge that was trained on one of the sets is measured there on prompts that it has not seen."""
    if all(each.name != "xstest" for each in sets):
        return None, []
    if judge != "linear":
        trained = "linear" in judge.partition(":")[2].split(",")
        return None, ["its member linear has seen xstest, whose figures flatter the panel"] if trained else []
    from safekeel.judges.linear_card import out_of_fold

    return out_of_fold(data_dir, say)


def _command() -> str:
    """The command as typed, without folders of this machine."""
    words = [Path(word).name if word.startswith("/") else word for word in sys.argv[1:]]
    return " ".join(["safekeel", *words])
