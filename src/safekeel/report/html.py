"""The page: one HTML file without scripts, fonts or requests to anywhere."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from safekeel.report import labels


def _finalize(value: Any) -> Any:
    """Every value printed by the template: control characters of foreign text made visible; escaping follows."""
    return value if isinstance(value, Markup) or not isinstance(value, str) else labels.visible(value)


def environment(autoescape: bool) -> Environment:
    """Templates of `report/`, with the names and number formats of `labels` as filters."""
    found = Environment(
        loader=PackageLoader("safekeel.report"),
        autoescape=autoescape,
        finalize=_finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    names = ("percent", "points", "seconds", "arrow", "direction", "metric_name", "benchmark_name", "family_name")
    for name in (*names, "lower_first"):
        found.filters[name] = getattr(labels, name)
    found.filters["md"] = labels.markdown
    return found


def render(page: dict[str, Any]) -> str:
    """The page as text. All that came from a run is escaped; figures are markup made by `svg`, which escapes."""
    drawn = {name: {size: Markup(text) for size, text in sizes.items()} for name, sizes in page["figures"].items()}
    rules = [{**rule, "gauge": rule["gauge"] and Markup(rule["gauge"])} for rule in page["rules"]]
    template = environment(autoescape=True).get_template("report.html.jinja")
    return template.render({**page, "figures": drawn, "rules": rules})
