"""The figures about detail: the risk categories as a heat map, and the small scales of table rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from safekeel.report import svg
from safekeel.report.figures import WIDE
from safekeel.report.labels import percent

CELL, ROW, HEAD = 42.0, 25.0, 44.0
COLUMNS = ("before", "after", "before", "after")
_BINS = ((0.5, "h0"), (0.8, "h1"), (0.95, "h2"), (1.0, "h3"))
LEGEND = (("h0", "below 50"), ("h1", "50-80"), ("h2", "80-95"), ("h3", "95-100"), ("h4", "100"))


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
