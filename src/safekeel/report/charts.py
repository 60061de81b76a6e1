"""The figures about detail: the risk categories as a heat map, and the curves of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from safekeel.report import svg
from safekeel.report.figures import WIDE
from safekeel.report.labels import percent

CELL, ROW, HEAD = 42.0, 25.0, 44.0
COLUMNS = ("before", "after", "before", "after")
_BINS = ((0.5, "h0"), (0.8, "h1"), (0.95, "h2"), (1.0, "h3"))
LEGEND = (("h0", "below 50"), ("h1", "50-80"), ("h2", "80-95"), ("h3", "95-100"), ("h4", "100"))
PALETTE = ("c1", "c2", "c3", "c5", "c4")


@dataclass(frozen=True)
class Cell:
    """A share over a few items; None = no items."""

    value: float | None
    num_items: int = 0


@dataclass(frozen=True)
class CategoryRow:
    """One risk category: plain before and after, under attack before and after."""

    id: str
    name: str
    name_zh: str
    full_name: str
    cells: tuple[Cell, Cell, Cell, Cell]


@dataclass(frozen=True)
class Curve:
    """A quantity over training steps; `goal` is a level to hold."""

    name: str
    points: Sequence[tuple[float, float]]
    goal: float | None = None


@dataclass(frozen=True)
class Panel:
    """One small plot."""

    title: str
    curves: Sequence[Curve]
    as_percent: bool = True
    marks: Mapping[str, float] = field(default_factory=dict)


def categories(areas: Sequence[tuple[str, Sequence[CategoryRow]]], width: float = WIDE) -> str:
    """A heat map of defence over the categories of a taxonomy, in one column on a phone and two on a wide screen."""
    num_columns = 2 if width >= WIDE else 1
    gap = 24.0
    column_width = (width - gap * (num_columns - 1)) / num_columns
    blocks = _split(areas, num_columns)
    height = max(_column_height(block) for block in blocks) + 34
    parts = [_heat_column(block, index * (column_width + gap), column_width) for index, block in enumerate(blocks)]
    return svg.figure(
        width,
        height,
        "Defence rate by risk category, before and after, plain and under attack.",
        *parts,
        _legend(height),
    )


def _split(
    areas: Sequence[tuple[str, Sequence[CategoryRow]]], num_columns: int
) -> list[list[tuple[str, Sequence[CategoryRow]]]]:
    """Areas in order, the first column as long as the rest."""
    if num_columns == 1 or len(areas) < 2:
        return [list(areas)]
    cuts = range(1, len(areas))
    best = min(cuts, key=lambda cut: max(_column_height(areas[:cut]), _column_height(areas[cut:])))
    return [list(areas[:best]), list(areas[best:])]


def _column_height(block: Sequence[tuple[str, Sequence[CategoryRow]]]) -> float:
    return HEAD + sum(30 + ROW * len(rows) for _, rows in block)


def _heat_column(block: Sequence[tuple[str, Sequence[CategoryRow]]], left: float, width: float) -> str:
    cells = left + width - CELL * 4 - 6
    parts = [
        svg.text(cells + CELL - 2, 14, "plain", "b s", "middle"),
        svg.text(cells + CELL * 3 + 4, 14, "under attack", "b s", "middle"),
    ]
    parts += [svg.text(_cell_x(cells, i) + CELL / 2 - 1, 32, name, "m s", "middle") for i, name in enumerate(COLUMNS)]
    y = HEAD
    for title, rows in block:
        parts.append(svg.text(left, y + 18, title, "b"))
        y += 30
        for row in rows:
            parts.append(_heat_row(row, left, cells, y))
            y += ROW
    return "".join(parts)


def _cell_x(cells: float, index: int) -> float:
    """The two pairs stand a little apart."""
    return cells + CELL * index + (6 if index >= 2 else 0)


def _heat_row(row: CategoryRow, left: float, cells: float, y: float) -> str:
    parts = [
        svg.element(
            "g", svg.title(f"{row.id} {row.full_name}"), svg.text(left, y + 16, row.id.rpartition(".")[2], "m s"),
            svg.text(left + 16, y + 16, row.name), svg.text(cells - 10, y + 16, row.name_zh, "m s", "end", lang="zh"),
        )
    ]  # fmt: skip
    for index, (cell, when) in enumerate(zip(row.cells, COLUMNS, strict=True)):
        tone, x = _tone(cell.value), _cell_x(cells, index)
        how = "plain" if index < 2 else "under attack"
        tip = svg.title(f"{row.id} {row.full_name}, {how}, {when}: {percent(cell.value)} of {cell.num_items} items")
        shown = "·" if cell.value is None else f"{100 * cell.value:.0f}"
        parts.append(svg.rect(x, y, CELL - 2, ROW - 2, tone, tip))
        parts.append(svg.text(x + CELL / 2 - 1, y + 16, shown, f"s on-{tone}", "middle"))
    return "".join(parts)


def _tone(value: float | None) -> str:
    if value is None:
        return "hn"
    return next((name for limit, name in _BINS if value < limit), "h4")


def _legend(height: float) -> str:
    parts, x = [], 0.0
    for tone, name in LEGEND:
        parts += [svg.rect(x, height - 16, 12, 12, tone), svg.text(x + 16, height - 6, name, "m s")]
        x += 34 + 6.6 * len(name)
    return "".join([*parts, svg.text(x, height - 6, "%", "m s")])


def curves(panels: Sequence[Panel], width: float = WIDE) -> str:
    """Small plots of training, side by side on a wide screen, one below the other on a phone."""
    per_row = min(len(panels), 3) if width >= WIDE else 1
    gap, plot = 34.0, 150.0
    legend = 17.0 * max((len(panel.curves) for panel in panels), default=0)
    panel_width, panel_height = (width - gap * (per_row - 1)) / max(1, per_row), plot + legend + 62
    num_rows = -(-len(panels) // max(1, per_row))
    parts = [
        _panel(panel, (i % per_row) * (panel_width + gap), (i // per_row) * panel_height, panel_width, plot, legend)
        for i, panel in enumerate(panels)
    ]
    return svg.figure(width, num_rows * panel_height - 8, "Curves of the training.", *parts)


def _panel(panel: Panel, left: float, top: float, width: float, plot: float, legend: float) -> str:
    steps = [x for curve in panel.curves for x, _ in curve.points] or [0.0, 1.0]
    levels = [y for curve in panel.curves for _, y in curve.points] + [
        c.goal for c in panel.curves if c.goal is not None
    ]
    first, last = min(steps), max(max(steps), min(steps) + 1)
    low, high = min([0.0, *levels]), max([*levels, 1e-9]) * 1.06
    x0, y0, y1 = left + 38, top + 30 + legend, top + 30 + legend + plot

    def place(x: float, y: float) -> tuple[float, float]:
        return x0 + (x - first) / (last - first) * (width - 40), y1 - (y - low) / (high - low) * (y1 - y0)

    parts = [svg.text(left, top + 16, panel.title, "b")]
    for level in svg.ticks(low, high, 4):
        y = place(first, level)[1]
        shown = f"{100 * level:g}%" if panel.as_percent else f"{level:g}"
        parts += [svg.line(x0, y, x0 + width - 40, y, "grid"), svg.text(x0 - 6, y + 4, shown, "m s", "end")]
    for index, curve in enumerate(panel.curves):
        tone = PALETTE[index % len(PALETTE)]
        dot = top + 30 + 17 * index
        parts.append(
            svg.line(left, dot, left + 14, dot, tone) + svg.text(left + 20, dot + 4, curve.name, f"s {tone}-text")
        )
        if curve.goal is not None:
            parts.append(svg.path([place(first, curve.goal), place(last, curve.goal)], f"{tone} dash"))
        parts.append(svg.path([place(x, y) for x, y in smooth(curve.points)], tone))
    parts.append(
        svg.text(x0, y1 + 18, f"{first:g}", "m s") + svg.text(x0 + width - 40, y1 + 18, f"step {last:g}", "m s", "end")
    )
    return "".join(parts)


def smooth(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The mean over the last twelfth of all points: sampled rewards jump from step to step."""
    window = max(1, len(points) // 12)
    shares = [y for _, y in points]
    return [(x, sum(shares[max(0, i - window + 1) : i + 1]) / min(i + 1, window)) for i, (x, _) in enumerate(points)]


def gauge(
    value: float, low: float, high: float, threshold: float, was: float | None, scale: tuple[float, float] = (0.0, 1.0)
) -> str:
    """A small scale for a table row: where it was (ring), is (dot, with its interval), and has to be (line)."""
    width, middle = 150.0, 9.0

    def x(level: float) -> float:
        return 7 + min(1.0, max(0.0, (level - scale[0]) / (scale[1] - scale[0]))) * (width - 14)

    ring = "" if was is None else svg.circle(x(was), middle, 4.5, "hollow")
    return svg.figure(
        width,
        18,
        f"at {percent(value)}, required {percent(threshold)}",
        svg.rect(0, middle - 2, width, 4, "track"),
        svg.line(x(threshold), 1, x(threshold), 17, "goal"),
        ring,
        svg.line(x(low), middle, x(high), middle, "now-line"),
        svg.circle(x(value), middle, 4.5, "now"),
    )
