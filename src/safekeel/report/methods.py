"""Ways of training beside each other: a table and a figure from one measured row per method and seed.

    rows = read_rows(Path("out/methods/methods-test.jsonl"))
    methods_table(rows)      Markdown
    methods_figure(rows)     an SVG file

A row is `{method, seed, metrics, tokens, cpu_seconds}`; `metrics` has the fractions `plain, seen, unseen, aware,
over_refusal, answered`, `capability_change {value, low, high}` against the base (with `verdict` where the gate's rule
was asked), and `over_refusal_rise` against the base. Methods stand in the order in which they first occur.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from safekeel.errors import DataError, explain
from safekeel.report.labels import markdown, percent, points

BASE = "base"
"""The method that is no training: the model that all others start from."""
CAPABILITY_BUDGET, OVER_REFUSAL_BUDGET = 0.01, 0.02
"""What a method may cost (DESIGN section 4, issue 5): one point of capability, two points of over-refusal."""
Rows = Sequence[Mapping[str, Any]]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Change(_Record):
    """A paired difference against the base with its 95% interval, in fractions."""

    value: float
    low: float
    high: float
    verdict: str | None = None
    """PASS, BREACH or INCONCLUSIVE by the gate's rule."""


class Metrics(_Record):
    """What one model was measured on; fractions, None = not measured."""

    plain: float | None = None
    seen: float | None = None
    unseen: float | None = None
    aware: float | None = None
    over_refusal: float | None = None
    answered: float | None = None
    capability_change: Change | None = None
    over_refusal_rise: float | None = None


class Row(_Record):
    """One trained model."""

    method: str = Field(min_length=1)
    seed: int
    metrics: Metrics
    tokens: int = 0
    cpu_seconds: float = 0.0


@dataclass(frozen=True)
class Method:
    """All seeds of one way of training."""

    name: str
    rows: tuple[Row, ...]

    def values(self, read: Callable[[Row], float | None]) -> list[float]:
        """The figure of every seed that has it."""
        return [value for row in self.rows if (value := read(row)) is not None]

    def changes(self) -> list[Change]:
        """The capability changes of the seeds."""
        return [row.metrics.capability_change for row in self.rows if row.metrics.capability_change is not None]

    def standings(self) -> list[str]:
        """Per seed: the gate's verdict on the loss; by the interval where no verdict was noted."""
        return [change.verdict or _standing(change) for change in self.changes()]

    def holds(self) -> bool:
        """Whether every seed is proven within the capability budget and measured within the over-refusal budget."""
        rises = self.values(lambda row: row.metrics.over_refusal_rise)
        return (
            len(self.standings()) == len(self.rows)
            and set(self.standings()) == {"PASS"}
            and max(rises, default=0.0) <= OVER_REFUSAL_BUDGET + 1e-9
        )


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows in a JSONL file, or in a JSON list.

    Raises:
        DataError: no such file, malformed JSON, or no rows.
    """
    try:
        text = Path(path).read_text("utf-8")
        rows = json.loads(text) if text.lstrip().startswith("[") else [json.loads(line) for line in text.splitlines()]
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as rows of methods ({error}); expected JSONL or a list.") from error
    methods_of(rows)
    return list(rows)


def methods_of(rows: Rows) -> list[Method]:
    """The rows by method, checked.

    Raises:
        DataError: no rows, a malformed one, or one method and seed twice.
    """
    try:
        found = TypeAdapter(list[Row]).validate_python(list(rows))
    except ValidationError as error:
        raise DataError(f"rows of methods: {explain(error).splitlines()[0]}") from error
    if not found:
        raise DataError("there are no rows of methods; run benchmarks/methods.py first.")
    counts = Counter((row.method, row.seed) for row in found)
    if twice := [key for key, count in counts.items() if count > 1]:
        raise DataError(f"rows of methods: {twice[0][0]!r} with seed {twice[0][1]} occurs twice; expected it once.")
    names = dict.fromkeys(row.method for row in found)
    return [Method(name, tuple(row for row in found if row.method == name)) for name in names]


SHARES: tuple[tuple[str, str], ...] = (
    ("plain ↑", "plain"),
    ("seen attacks ↑", "seen"),
    ("unseen attacks ↑", "unseen"),
    ("aware and safe ↑", "aware"),
    ("over-refusal ↓", "over_refusal"),
    ("harmless answered ↑", "answered"),
)


def methods_table(rows: Rows) -> str:
    """A Markdown table: the mean over the seeds, and (lowest … highest) where there are several.

    Shares in percent; the change of capability in points, with the widest of the seeds' 95% intervals beside it.

    Raises:
        DataError: see `methods_of`.
    """
    titles = ["method", *(title for title, _ in SHARES)]
    titles += ["capability, points", "95% interval", "within 1 point", "tokens", "CPU s", "seeds"]
    lines = ["| " + " | ".join(titles) + " |", "|---|" + "---:|" * (len(titles) - 1)]
    lines += ["| " + " | ".join(_cells(method)) + " |" for method in methods_of(rows)]
    return "\n".join(lines) + "\n"


def _cells(method: Method) -> list[str]:
    changes = method.changes()
    cells = [markdown(method.name)]
    for _, name in SHARES:
        cells.append(spread(method.values(lambda row, name=name: getattr(row.metrics, name)), _share))  # type: ignore[misc]
    cells.append(spread([change.value for change in changes], points))
    cells.append(f"{points(min(c.low for c in changes))} … {points(max(c.high for c in changes))}" if changes else "")
    counted = Counter(method.standings())
    if method.name == BASE:
        cells.append("")
    elif len(method.rows) == 1:
        cells.append(next(iter(counted), "n/a"))
    else:
        cells.append(", ".join(f"{count} {standing}" for standing, count in sorted(counted.items())) or "n/a")
    cells.append(spread(method.values(lambda row: float(row.tokens) or None), lambda value: f"{value:,.0f}"))
    cells.append(spread(method.values(lambda row: row.cpu_seconds or None), lambda value: f"{value:,.0f}"))
    return [*cells, str(len(method.rows))]


def spread(values: Sequence[float], show: Callable[[float], str]) -> str:
    """`97.2 (96.8 … 97.6)`; the value alone where all are shown alike, nothing where there is none."""
    if not values:
        return ""
    low, high = show(min(values)), show(max(values))
    middle = show(sum(values) / len(values))
    return middle if low == high else f"{middle} ({low} … {high})"


def _share(value: float) -> str:
    return percent(value).removesuffix("%")


def _standing(change: Change) -> str:
    """As the gate would say, by the two-sided interval, which is the stricter one."""
    if change.low >= -CAPABILITY_BUDGET:
        return "PASS"
    return "BREACH" if change.high < -CAPABILITY_BUDGET else "INCONCLUSIVE"


def methods_figure(rows: Rows) -> str:
    """The methods in the plane of capability and defence, as an SVG file of its own; see `methods_plot.draw`.

    Raises:
        DataError: see `methods_of`; or no row has both figures.
    """
    from safekeel.report import methods_plot, svg  # it reads this module's types

    return svg.standalone(methods_plot.draw(methods_of(rows)))
