"""The report as Markdown: the numbers, for a terminal, a pull request or a model card. No model text."""

from __future__ import annotations

from typing import Any

from safekeel.report.html import environment


def render(page: dict[str, Any]) -> str:
    """The report as text; names from a run are escaped for tables."""
    return environment(autoescape=False).get_template("report.md.jinja").render(page)
