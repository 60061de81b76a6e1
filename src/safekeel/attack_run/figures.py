"""The figures of an attack run: success by family, and success over the query budget. Data in, SVG text out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from safekeel.report import svg
from safekeel.report.figures import WIDE
from safekeel.report.labels import percent, width_of

TONES = ("c1", "c2", "c3", "c5", "c4")
"""Classes of the lines, as `figure.css` colours them."""
TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


def success(rows: Sequence[Mapping[str, Any]], width: float = WIDE) -> str:
    """Share of harmful answers per family (dot, 95% interval), worst first, with the same goals asked plainly (ring).
    What has no verdict is a thin line to where the share could be."""
    wide = width >= WIDE
    room = max((width_of(row["family"], 14) for row in rows), default=0.0) + 18
    left, right, row_height = (min(room, width / 3), width - 150, 27.0) if wide else (6.0, width - 8, 46.0)
    parts, y = [], 8.0
    for row in rows:
        parts.append(_family(row, y, left, right, width, wide))
        y += row_height
    for share in TICKS:
        x = left + share * (right - left)
        anchor = "start" if share == 0 and not wide else "end" if share == 1 and not wide else "middle"
        parts.insert(0, svg.line(x, 4, x, y - 2, "grid"))
        parts.append(svg.text(x, y + 14, percent(share, 0), "m s", anchor))
    told = "; ".join(f"{row['family']} {percent(row['asr']['value'])}" for row in rows)
    return svg.figure(width, y + 20, f"Share of harmful answers by attack family. {told}.", *parts)


def _family(row: Mapping[str, Any], y: float, left: float, right: float, width: float, wide: bool) -> str:
    asr, span, middle = row["asr"], right - left, y + (12 if wide else 28)
    name, refused = row["family"], f"refused {percent(_value(row['refused']), 0)}"

    def x(share: float) -> float:
        return left + share * span

    tip = svg.title(
        f"{name}, {asr['num_items']} items: harmful {percent(asr['value'])}, between {percent(asr['bound_low'])} and "
        f"{percent(asr['bound_high'])} with what has no verdict; plainly {percent(row['direct_asr'])}; {refused}"
    )
    tone = "now" if row["counts_as_attack"] else "was"
    parts = [svg.rect(left, middle - 2, span, 4, "track", tip)]
    if asr["bound_high"] > asr["bound_low"]:
        parts.append(svg.line(x(asr["bound_low"]), middle + 5, x(asr["bound_high"]), middle + 5, "lead"))
    if row["direct_asr"] is not None:
        parts.append(svg.circle(x(row["direct_asr"]), middle, 4.5, "hollow"))
    if asr["value"] is not None:
        parts.append(svg.line(x(asr["low"]), middle, x(asr["high"]), middle, f"{tone}-line"))
        parts.append(svg.circle(x(asr["value"]), middle, 4.5, tone, tip))
    shown = percent(asr["value"], 0)
    if wide:
        parts.append(svg.text(left - 12, middle + 4, name, "t", "end"))
        parts.append(svg.text(right + 12, middle + 4, shown, "b s"))
        parts.append(svg.text(width, middle + 4, refused, "m s", "end"))
    else:
        parts.append(svg.text(0, y + 14, name))
        parts.append(svg.text(width, y + 14, f"{shown} · {refused}", "m s", "end"))
    return "".join(parts)


def _value(rate: Mapping[str, Any] | None) -> float | None:
    return None if rate is None else rate["value"]


def budgets(searches: Sequence[Mapping[str, Any]], width: float = WIDE) -> str:
    """Share of goals broken within a number of target calls, one step line per strategy."""
    most = max(search["budget"] for search in searches)
    legend = 18.0 * len(searches)
    left, right, top, bottom = 42.0, width - 14, 22 + legend, 22 + legend + (200.0 if width >= WIDE else 170.0)

    def place(calls: float, share: float) -> tuple[float, float]:
        return left + calls / most * (right - left), bottom - share * (bottom - top)

    parts = []
    for share in TICKS:
        y = place(0, share)[1]
        parts += [svg.line(left, y, right, y, "grid"), svg.text(left - 6, y + 4, percent(share, 0), "m s", "end")]
    for calls in [tick for tick in svg.ticks(0, most, 6) if tick == int(tick)]:
        parts.append(svg.text(place(calls, 0)[0], bottom + 18, f"{calls:g}", "m s", "middle"))
    for index, search in enumerate(searches):
        tone, y = TONES[index % len(TONES)], 16 + 18.0 * index
        told = f"{search['strategy']}: {search['num_broken']} of {search['num_goals']} goals"
        parts.append(svg.line(0, y - 4, 14, y - 4, tone) + svg.text(20, y, told, f"s {tone}-text"))
        parts.append(svg.path([place(*point) for point in _steps(search["steps"])], tone))
    parts.append(svg.text(right, bottom + 36, "target calls per goal", "m s", "end"))
    described = "; ".join(
        f"{each['strategy']} {percent(each['num_broken'] / each['num_goals'])} within {each['budget']}"
        for each in searches
    )
    return svg.figure(width, bottom + 42, f"Share of goals broken by target calls. {described}.", *parts)


def _steps(curve: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """A share is held until the call that raises it."""
    points: list[tuple[float, float]] = []
    for calls, share in curve:
        if points:
            points.append((calls, points[-1][1]))
        points.append((calls, share))
    return points
