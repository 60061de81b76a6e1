"""The card as Markdown, for `card.md` and the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from safekeel.corpus.card_table import shown
from safekeel.corpus.card_view import tables
from safekeel.report.labels import markdown


def card_markdown(card: Mapping[str, Any]) -> str:
    """The card for people: warnings loud on top, then every table."""
    total = (card.get("rl_prompts") or {}).get("total", 0)
    lines = ["# Data card", ""]
    for text in card.get("warnings") or []:
        lines += [f"> **WARNING** {markdown(text)}", ""]
    lines += [f"{card['samples']:,} training samples, {total:,} RL prompts.", ""]
    for table in tables(card):
        heads = [markdown(name) for name in table.columns]
        rule = ["---:" if numeric else "---" for numeric in table.numeric]
        cells = [[markdown(shown(cell)) for cell in row] for row in table.rows]
        lines += [f"## {table.title}", "", *([markdown(table.note), ""] if table.note else [])]
        lines += [f"| {' | '.join(row)} |" for row in (heads, rule, *cells)]
        lines.append("")
    lines.append(f"Distinct refusals: {card.get('distinct_refusals', 'not counted')}.")
    sizes = card["characters"]
    lines.append(f"Thought and answer together: median {sizes['median']} characters, longest {sizes['longest']}.")
    return "\n".join(lines) + "\n"
