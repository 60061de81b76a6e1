"""The card as one page without scripts, fonts or requests to anywhere; sample texts are escaped and behind a click."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader
from markupsafe import Markup

from safekeel.corpus.card_table import Table, shown
from safekeel.corpus.card_view import tables
from safekeel.corpus.sample import ROLES, Sample
from safekeel.judges.sheet_text import question
from safekeel.report import svg
from safekeel.report.html import environment

PER_ROLE = 3
"""Example rows per role: enough to see the form, few enough that the page stays a card."""
_MAX_SHOWN = 4000  # characters of one text on the page; a whole row is in sft.jsonl


def card_html(card: Mapping[str, Any], examples: Sequence[Sample] = ()) -> str:
    """The page.

    Args:
        card: of `corpus_card` or `load_card`; cards of earlier versions have fewer tables.
        examples: rows to show, at most `PER_ROLE` of each role (`pick_examples`); hidden until clicked.
    """
    drawn = [{"table": table, "rows": _rows(table), "id": f"t{place}"} for place, table in enumerate(tables(card))]
    chosen = pick_examples(examples)
    groups = [(role, [_example(row) for row in chosen if row.role == role]) for role in ROLES]
    page = {
        "card": {"warnings": [], **card},
        "tiles": _tiles(card),
        "tables": drawn,
        "examples": [(role, rows) for role, rows in groups if rows],
    }
    return page_environment().get_template("card.html.jinja").render(page)


def page_environment() -> Environment:
    """Templates of the corpus, with the style sheets and filters of the reports."""
    found = environment(autoescape=True)
    found.loader = ChoiceLoader([PackageLoader("safekeel.corpus"), PackageLoader("safekeel.report")])
    return found


def pick_examples(kept: Sequence[Sample], per_role: int = PER_ROLE, seed: int = 0) -> list[Sample]:
    """A few random rows of each role, the same for the same corpus and seed."""
    rng = random.Random(seed)
    by_role = {role: [sample for sample in kept if sample.role == role] for role in ROLES}
    return [row for rows in by_role.values() for row in rng.sample(rows, min(per_role, len(rows)))]


def _rows(table: Table) -> list[list[dict[str, Any]]]:
    """Cells with their column's name (for phones), their alignment, and a bar where the table draws one."""
    bar = table.bar
    top = max((int(row[bar]) for row in table.rows), default=0) if bar is not None else 0
    return [
        [
            {
                "text": shown(cell),
                "name": table.columns[place],
                "number": table.numeric[place] and place > 0,
                "bar": Markup(_bar(int(cell), top)) if place == bar and top else None,
            }
            for place, cell in enumerate(row)
        ]
        for row in table.rows
    ]


def _bar(value: int, top: int) -> str:
    """A bar as long as the value's share of the longest one; the number stands beside it."""
    return svg.element(
        "svg",
        svg.rect(0, 0, 100, 8, "track", radius=0),
        svg.rect(0, 0, 100 * value / top, 8, "now", radius=0),
        viewBox="0 0 100 8",
        preserveAspectRatio="none",
        class_="bar",
        aria_hidden="true",
    )


def _tiles(card: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The three numbers one looks for first: (number, what it is, note)."""
    roles = card["by_role"]
    categories = card.get("by_category") or {}
    filled = sum(bool(row["risky"]) for row in categories.values())
    found = [(f"{card['samples']:,}", "training samples", ", ".join(f"{n:,} {role}" for role, n in roles.items()))]
    if categories:
        found.append((f"{filled} of {len(categories)}", "categories with risky samples", ""))
    dropped = sum((card.get("rejected") or {}).values())
    found.append((f"{dropped:,}", "rows rejected", "each with its reason in rejected.jsonl"))
    return found


def _example(sample: Sample) -> dict[str, Any]:
    texts = {"Request": question(sample.prompt), "Thought": sample.thought, "Answer": sample.answer}
    return {
        "id": sample.id,
        "about": " · ".join(filter(None, [sample.prompt.lang, sample.prompt.risk, sample.prompt.source])),
        "texts": {name: _cut(text) for name, text in texts.items() if text},
    }


def _cut(text: str) -> str:
    if len(text) <= _MAX_SHOWN:
        return text
    return f"{text[:_MAX_SHOWN]} [… {len(text) - _MAX_SHOWN:,} more characters are in sft.jsonl]"
