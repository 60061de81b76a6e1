"""The pages of an attack run: one HTML file without scripts or requests to anywhere, and Markdown without model text.

Everything that came from a prompt, a model or a judge is escaped; harmful text stands behind a click, and only on the
HTML page.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader
from markupsafe import Markup

from safekeel.attack_run import figures
from safekeel.attack_run.measure import is_harmful
from safekeel.attack_run.pack import DIRECT, family_of, goal_of
from safekeel.attack_run.words import explained, limits
from safekeel.attacks.search.log import QueryRow
from safekeel.bench.metrics import Item
from safekeel.report import html as report_html
from safekeel.report.figures import NARROW, WIDE

PER_FAMILY = 2
"""Examples of a family on the page; all of them are in `completions.jsonl`."""
MAX_CHARS = 1500
"""Of one text on the page: a many-shot prompt or a thought may have tens of thousands."""
MATRIX_SIZE = 10
"""Families in the page's transfer table, those that broke most goals; `attack.json` has all."""


def html(found: Mapping[str, Any], examples: Sequence[Mapping[str, Any]]) -> str:
    """The page."""
    drawn = {
        name: {size: Markup(text) for size, text in sizes.items()}  # made by `report.svg`, which escapes
        for name, sizes in draw(found).items()
    }
    return _environment(True).get_template("attack.html.jinja").render(**_view(found), figures=drawn, examples=examples)


def markdown(found: Mapping[str, Any]) -> str:
    """The numbers as Markdown."""
    return _environment(False).get_template("attack.md.jinja").render(**_view(found))


def _environment(autoescape: bool) -> Environment:
    """The report's filters and style sheets, with the templates of this package before its own."""
    loader = ChoiceLoader([PackageLoader("safekeel.attack_run"), PackageLoader("safekeel.report")])
    return report_html.environment(autoescape).overlay(loader=loader)


def _view(found: Mapping[str, Any]) -> dict[str, Any]:
    by_name = {row["family"]: row for row in found["families"]}
    return {
        "found": found,
        "tables": _tables(found),
        "direct": by_name.get(DIRECT),
        "worst": by_name.get(found["worst_family"]),
        "matrix": matrix(found["transfer"]["families"]),
        "limits": limits(found),
        "explained": explained(found),
    }


def _tables(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The baseline with the families that count, and the others apart."""
    rows = worst_first(found["families"])
    counted = [row for row in rows if row["counts_as_attack"] or row["family"] == DIRECT]
    others = [row for row in rows if row not in counted]
    return [{"rows": counted, "counts": True}, *([{"rows": others, "counts": False}] if others else [])]


def worst_first(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The baseline, then the families that count, then the others; each by falling success."""

    def place(row: Mapping[str, Any]) -> tuple[bool, bool, float, str]:
        asr = row["asr"]["bound_low"] if row["asr"] else 0.0
        return row["family"] != DIRECT, not row["counts_as_attack"], -asr, row["family"]

    return sorted(rows, key=place)


def matrix(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The transfer table as it is shown: the families that broke most goals, as rows and columns."""
    top = sorted(rows, key=lambda row: -row["num_broken"])[:MATRIX_SIZE]
    columns = [row["family"] for row in top]
    return {"columns": columns, "rows": top, "num_left_out": len(rows) - len(top)}


def draw(found: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The figures that the numbers allow, each for a wide screen and for a phone."""
    rows = [row for row in worst_first(found["families"]) if row["asr"] is not None and row["asr"]["value"] is not None]
    drawn: dict[str, dict[str, str]] = {}
    for size, width in (("wide", WIDE), ("narrow", NARROW)):
        if rows:
            drawn.setdefault("families", {})[size] = figures.success(rows, width)
        if found["searches"]:
            drawn.setdefault("budgets", {})[size] = figures.budgets(found["searches"], width)
    return drawn


def examples_of(items: Iterable[Item], queries: Iterable[QueryRow]) -> list[dict[str, Any]]:
    """The first prompts of each family that got a harmful answer, or a harmful thought behind a safe one; and of each
    search the first that succeeded."""
    shown: dict[str, list[dict[str, Any]]] = {}
    for item in items:
        leak = item.thought == "harmful" and is_harmful(item) is False
        if is_harmful(item) or leak:
            family, row = family_of(item.prompt), item.completion
            turns = [(message.role, message.content) for message in item.prompt.messages]
            what = "harmful thought, safe answer" if leak else "harmful answer"
            example = _example(family, goal_of(item.prompt), what, turns, row.thought, row.answer)
            shown.setdefault(family, []).append(example)
    for query in queries:
        if query.jailbroken:
            turns = [(message.role, message.content) for message in query.messages]
            what = f"harmful answer to call {query.number_of_queries} ({query.label})"
            example = _example(f"search {query.strategy}", query.goal_id, what, turns, query.thought, query.response)
            shown.setdefault(f"search {query.strategy}", []).append(example)
    return [{"family": family, "num": len(found), "rows": found[:PER_FAMILY]} for family, found in shown.items()]


def _example(
    family: str, goal: str, what: str, turns: Sequence[tuple[str, str]], thought: str | None, answer: str
) -> dict[str, Any]:
    return {
        "family": family,
        "goal": goal,
        "what": what,
        "turns": [(role, _cut(text)) for role, text in turns],
        "thought": _cut(thought or ""),
        "answer": _cut(answer),
    }


def _cut(text: str) -> str:
    return text if len(text) <= MAX_CHARS else f"{text[:MAX_CHARS]} […{len(text) - MAX_CHARS:,} more characters]"
