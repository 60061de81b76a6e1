"""Small plots of quantities over training steps, with error bands and the levels that must not be crossed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from safekeel.report import svg
from safekeel.report.figures import WIDE
from safekeel.report.labels import points, width_of

PALETTE = ("c1", "c2", "c3", "c5", "c4")
Unit = Literal["%", "points", "nats", ""]
PLOT, HEAD, LINE, FOOT, GAP = 140.0, 38.0, 17.0, 46.0, 34.0
OFF_SCALE = 4.0
"""A stop threshold this many times the largest value is named and not drawn: it would flatten the curve."""
NOT_RECORDED = "not recorded"


@dataclass(frozen=True)
class Goal:
    """A level: a `budget` to hold, or a threshold at which training stops."""

    level: float
    name: str
    always: bool = True
    """Draw it however far off it is."""


@dataclass(frozen=True)
class Curve:
    """A quantity over training steps.

    `band` has one standard error per point. `window` is the number of measurements that are averaged.
    """

    name: str
    points: Sequence[tuple[float, float]]
    goal: Goal | None = None
    band: Sequence[tuple[float, float]] = ()
    """(step, standard error), for the points that have one."""
    window: int = 1


@dataclass(frozen=True)
class Panel:
    """One small plot. `axis` says what the numbers are; `missing` what the run did not record."""

    title: str
    axis: str
    curves: Sequence[Curve]
    unit: Unit = "%"
    missing: Sequence[str] = ()
    axis_of_x: str = "step"


def draw(panels: Sequence[Panel], description: str, width: float = WIDE) -> str:
    """The plots side by side on a wide screen (three, or two where that fills the rows), one below the other on a
    phone. `description` is for those who cannot see it."""
    per_row = 1 if width < WIDE else 2 if len(panels) in (2, 4) else min(3, max(1, len(panels)))
    panel_width = (width - GAP * (per_row - 1)) / per_row
    parts, top = [], 0.0
    for start in range(0, len(panels), per_row):
        row = panels[start : start + per_row]
        legend = LINE * max(len(_entries(panel)) for panel in row)
        parts += [_panel(panel, i * (panel_width + GAP), top, panel_width, legend) for i, panel in enumerate(row)]
        top += HEAD + legend + PLOT + FOOT
    return svg.figure(width, max(top - 4, 1), description, *parts)


def show(value: float, unit: Unit, digits: int = 3) -> str:
    """A number of an axis in its unit, without the unit's name: shares in percent or points."""
    scaled = 100 * value if unit in ("%", "points") else value
    if scaled and abs(scaled) < 0.001:
        return f"{scaled:.0e}".replace("-", "\u2212")
    shown = f"{scaled:.0f}" if abs(scaled) >= 10**digits - 0.5 else f"{scaled:.{digits}g}"
    return shown.replace("-", "\u2212")


def smooth(points: Sequence[tuple[float, float]], window: int) -> list[tuple[float, float]]:
    """The mean over the last `window` points, or as many as there are."""
    levels = [y for _, y in points]
    means = []
    for index, (x, _) in enumerate(points):
        recent = levels[max(0, index - max(1, window) + 1) : index + 1]
        means.append((x, sum(recent) / len(recent)))
    return means


def _is_drawn(curve: Curve) -> bool:
    """Whether the goal is on the scale."""
    if curve.goal is None:
        return False
    top = max((abs(y) for _, y in curve.points), default=0.0)
    return curve.goal.always or curve.goal.level <= OFF_SCALE * top


def _entries(panel: Panel) -> list[tuple[str, str]]:
    """The legend: (kind and tone, text) per line."""
    found = []
    for index, curve in enumerate(panel.curves):
        tone = PALETTE[index % len(PALETTE)]
        found.append((tone, f"{curve.name} ± standard error" if curve.band else curve.name))
        if curve.goal is not None:
            off = "" if _is_drawn(curve) else " (off this scale)"
            found.append((f"{tone} dash", f"{curve.goal.name} {_level(curve.goal.level, panel.unit)}{off}"))
    return [*found, *(("", f"{name}: {NOT_RECORDED}") for name in panel.missing)]


def _level(value: float, unit: Unit) -> str:
    if unit == "points":
        return f"{points(value, 1, signed=False).removesuffix('.0')} points"
    return show(value, unit) + {"%": "%", "nats": " nats"}.get(unit, "")


def _range(panel: Panel) -> tuple[float, float]:
    """What the y axis shows: everything drawn, and zero."""
    levels = [y for curve in panel.curves for _, y in smooth(curve.points, curve.window)]
    for curve in panel.curves:
        errors = dict(curve.band)
        levels += [y + sign * errors[x] for x, y in curve.points if x in errors for sign in (-1, 1)]
    levels += [curve.goal.level for curve in panel.curves if curve.goal is not None and _is_drawn(curve)]
    low, high = min([0.0, *levels]), max([0.0, *levels])
    if high - low < 1e-9:
        high = low + (0.01 if panel.unit in ("%", "points") else 1.0)
    return low - (0.04 * (high - low) if low < 0 else 0), high + 0.06 * (high - low)


def _panel(panel: Panel, left: float, top: float, width: float, legend: float) -> str:
    y0 = top + HEAD + legend
    y1, x0, x1 = y0 + PLOT, left + 40, left + width - 8
    parts = [svg.text(left, top + 14, panel.title, "b"), svg.text(left, top + 31, panel.axis, "m s")]
    for index, (style, name) in enumerate(_entries(panel)):
        y = top + HEAD + 6 + LINE * index
        parts.append(svg.line(left, y, left + 16, y, style) if style else "")
        text_style = f"s {style.split()[0]}-text" if style else "m s"
        parts.append(svg.text(left + 22 if style else left, y + 4, name, text_style))
    steps = [x for curve in panel.curves for x, _ in curve.points]
    if not steps:
        middle = svg.text((x0 + x1) / 2, (y0 + y1) / 2, NOT_RECORDED, "m s", "middle")
        return "".join([*parts, svg.rect(x0, y0 + 8, x1 - x0, PLOT - 8, "track"), middle])
    first, last = min(steps), max(max(steps), min(steps) + 1)
    low, high = _range(panel)

    def at(x: float, y: float) -> tuple[float, float]:
        return x0 + (x - first) / (last - first) * (x1 - x0), y1 - (y - low) / (high - low) * (PLOT - 12)

    parts.append(_axes(panel, x0, x1, y1, low, high, at))
    for tick in svg.ticks(first, last, 4):
        x = at(tick, low)[0]
        parts.append(svg.line(x, y1, x, y1 + 4, "axis") + svg.text(x, y1 + 17, f"{tick:g}", "m s", "middle"))
    parts.append(svg.text(x1, y1 + 33, panel.axis_of_x, "m s", "end"))
    parts += [_curve(curve, PALETTE[i % len(PALETTE)], first, last, at) for i, curve in enumerate(panel.curves)]
    return "".join(parts)


def _axes(panel: Panel, x0: float, x1: float, y1: float, low: float, high: float, at: svg.Place) -> str:
    parts = [svg.line(x0, y1, x1, y1, "axis")]
    unit = "%" if panel.unit == "%" else ""
    for level in svg.ticks(low, high, 5):
        y = at(0, level)[1]
        parts += [
            svg.line(x0, y, x1, y, "axis" if abs(level) < 1e-12 else "grid"),
            svg.text(x0 - 6, y + 4, show(level, panel.unit, 2) + unit, "m s", "end"),
        ]
    return "".join(parts)


def _curve(curve: Curve, tone: str, first: float, last: float, at: svg.Place) -> str:
    errors, drawn = dict(curve.band), smooth(curve.points, curve.window)
    parts = []
    with_error = [(x, y) for x, y in drawn if x in errors]
    if len(with_error) > 1:
        upper, lower = ([at(x, y + sign * errors[x]) for x, y in with_error] for sign in (1, -1))
        parts.append(svg.area(upper, lower, f"{tone}-band"))
    if curve.goal is not None and _is_drawn(curve):
        parts.append(svg.path([at(first, curve.goal.level), at(last, curve.goal.level)], f"{tone} dash"))
    places = [at(x, y) for x, y in drawn]
    parts.append(svg.path(places, tone))
    if len(places) <= 16:  # a figure measured now and then: show when
        parts += [svg.circle(x, y, 2.5, f"{tone}-fill") for x, y in places]
    return "".join(parts)


def widest(panels: Sequence[Panel]) -> float:
    """The longest line of a heading or legend in pixels; a test holds it within a panel's width."""
    lines = [22 + width_of(name, 12) for panel in panels for _, name in _entries(panel)]
    heads = [size for panel in panels for size in (width_of(panel.title, 13.5), width_of(panel.axis, 12))]
    return max([*lines, *heads], default=0.0)
