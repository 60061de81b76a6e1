"""A judge's card and its baselines as a table for people."""

from __future__ import annotations

from collections.abc import Sequence

from safekeel.judges.base import NO, Agreement, JudgeCard
from safekeel.judges.baselines import Baseline
from safekeel.records import CANNOT_JUDGE
from safekeel.stats.agreement import cohen_kappa
from safekeel.stats.intervals import clopper_pearson, wilson

_HEAD = (
    "labels",
    "by",
    "lang",
    "part",
    "question",
    "n",
    "unscored",
    "accuracy",
    "scored only",
    "as no",
    "kappa",
    "sens.",
    "spec.",
)
_WIDTHS = (27, 7, 5, 8, 9, 6, 9, 20, 13, 7, 20, 19, 19)


def card_text(card: JudgeCard) -> str:
    """The card: one line per set, part and question. Intervals are 95%: Wilson, exact for sensitivity, specificity."""
    lines = [f"{card.judge} {card.judge_version}  (made {card.made.get('date', '?')})", _line(_HEAD)]
    lines += [_line(_cells(row)) for row in card.agreement]
    lines.append(
        "accuracy: share of all items, an unscored one is not agreed; as no: if every unscored one were read as `no`; "
        "kappa, sensitivity, specificity: over scored items."
    )
    if any(row.label_source == "model" for row in card.agreement):
        lines.append(
            "Labels `by model` were made by language models: agreement with them is not agreement with people."
        )
    return "\n".join([*lines, *map(str, card.made.get("notes", []))])


def silent_as_no(row: Agreement) -> float:
    """Accuracy on a yes/no question if `cannot_judge` were no: for judges that only find, such as rules."""
    return (row.num_agreed + row.confusion.get(NO, {}).get(CANNOT_JUDGE, 0)) / row.num_items


def agreement_json(row: Agreement) -> dict[str, object]:
    """An agreement with its computed figures, for `--json`."""
    kappa = _kappa(row)
    error = row.error
    return row.model_dump() | {
        "accuracy": row.accuracy,
        "accuracy_interval": list(wilson(row.num_agreed, row.num_items)),
        "accuracy_unscored_as_no": None if row.question == "label" else silent_as_no(row),
        "accuracy_when_scored": row.accuracy_when_scored,
        "kappa": row.kappa,
        "kappa_interval": list(kappa) if kappa else None,
        "sensitivity": error and error.sensitivity,
        "specificity": error and error.specificity,
    }


def baselines_text(title: str, rows: Sequence[Baseline]) -> str:
    """Baselines, one per line."""
    lines = [title]
    for row in rows:
        kappa = "" if row.kappa is None else f"κ {row.kappa:.3f}"
        lines.append(
            f"  {row.name:<34}{row.question:<34}{row.accuracy:>7.1%}  {kappa:<9} n={row.num_items}  {row.note}"
        )
    return "\n".join(line.rstrip() for line in lines)


def _cells(row: Agreement) -> list[str]:
    low, high = wilson(row.num_agreed, row.num_items)
    scored, error, kappa = row.accuracy_when_scored, row.error, _kappa(row)
    return [
        row.dataset,
        row.label_source,
        row.lang,
        row.part,
        row.question,
        str(row.num_items),
        str(row.num_unscored),
        f"{row.accuracy:.3f} [{low:.3f}-{high:.3f}]",
        "-" if scored is None else f"{scored:.3f}",
        "-" if row.question == "label" else f"{silent_as_no(row):.3f}",
        "-" if row.kappa is None else f"{row.kappa:.3f}" + (f" [{kappa[0]:.2f}-{kappa[1]:.2f}]" if kappa else ""),
        _rate(error.true_hits_found, error.num_true_hits) if error else "-",
        _rate(error.true_misses_kept, error.num_true_misses) if error else "-",
    ]


def _rate(part: int, whole: int) -> str:
    low, high = clopper_pearson(part, whole)
    return f"{part / whole:.3f} [{low:.2f}-{high:.2f}]"


def _kappa(row: Agreement) -> tuple[float, float] | None:
    scored = {ref: {got: n for got, n in cells.items() if got != CANNOT_JUDGE} for ref, cells in row.confusion.items()}
    if row.num_items == row.num_unscored:
        return None
    found = cohen_kappa(scored)
    return None if found.low is None or found.high is None else (found.low, found.high)


def _line(cells: Sequence[str]) -> str:
    return "".join(f"{text:<{width}}" for text, width in zip(cells, _WIDTHS, strict=True)).rstrip()
