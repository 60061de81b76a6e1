"""One table of the data card: plain cells, without markup."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Cell = str | int


@dataclass(frozen=True)
class Table:
    """One table of the card; `bar` is the column that the page also draws."""

    title: str
    title_zh: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    bar: int | None = None

    @property
    def numeric(self) -> list[bool]:
        """Which columns hold numbers in all rows."""
        return [all(_is_number(row[place]) for row in self.rows) for place in range(len(self.columns))]


def shown(cell: Cell) -> str:
    """A cell as text, thousands apart."""
    return f"{cell:,}" if isinstance(cell, int) else cell


def _is_number(cell: Cell) -> bool:
    return isinstance(cell, int) or cell in ("n/a", "not counted", "NOT CHECKED") or cell.lstrip("≥ ")[:1].isdigit()
