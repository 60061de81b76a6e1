"""The figure of `methods.py`: every way of training in the plane of capability change and defence under unseen attacks.

A small ring is one seed, a large mark the mean over a method's seeds; its size is the over-refusal. The bar reaches
from the lowest to the highest end of the seeds' 95% intervals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from safekeel.errors import DataError
from safekeel.report import svg
from safekeel.report.figures import WIDE
from safekeel.report.labels import percent, points, width_of
from safekeel.report.methods import BASE, CAPABILITY_BUDGET, OVER_REFUSAL_BUDGET, Method
from safekeel.report.placing import Box, Wanted, around, leader, place

LINEAR_SPAN = 0.06
"""Capability changes over more than 6 points are drawn on an asinh scale: near zero, where the budget is, one point
stays as wide as it is, and a collapse of 40 points still fits."""
UNIT = 0.01
"""Where the asinh scale turns from linear to logarithmic: one point."""
TICKS = (-1.0, -0.5, -0.2, -0.1, -0.05, -0.02, -0.01, 0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
STRETCH = 0.01
"""The defence is drawn by the logarithm of what is left of 100%, this much added: most methods lie between 90 and
100%, where a linear scale would heap them."""
SHARES = (0.0, 0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 1.0)
SMALLEST, GROWTH = 5.0, 11.0  # radius of a mark without over-refusal, and what is added at 100%
LABEL = 16.0


@dataclass(frozen=True)
class Point:
    """A method as it is drawn; fractions."""

    method: Method
    change: float
    low: float
    high: float
    defence: float
    over_refusal: float | None
    seeds: tuple[tuple[float, float], ...]

    @property
    def radius(self) -> float:
        """The area grows with the over-refusal."""
        return SMALLEST + GROWTH * math.sqrt(self.over_refusal or 0.0)


@dataclass(frozen=True)
class _Scale:
    """Where fractions lie in pixels."""

    left: float
    right: float
    top: float
    bottom: float
    low: float
    high: float
    floor: float

    @property
    def bent(self) -> bool:
        return self.high - self.low > LINEAR_SPAN

    def _bend(self, change: float) -> float:
        return math.asinh(change / UNIT) if self.bent else change

    def x(self, change: float) -> float:
        low, high = self._bend(self.low), self._bend(self.high)
        return self.left + (self._bend(change) - low) / (high - low) * (self.right - self.left)

    def y(self, share: float) -> float:
        low, high = _left_over(self.floor), _left_over(1.0)
        return self.bottom - (_left_over(share) - low) / (high - low) * (self.bottom - self.top)


def _left_over(share: float) -> float:
    return -math.log(max(0.0, 1 - share) + STRETCH)


def draw(methods: Sequence[Method]) -> str:
    """The figure as SVG markup without a style.

    Raises:
        DataError: no method has both a capability change and a defence.
    """
    found = [point for method in methods if (point := _point(method)) is not None]
    if not found:
        raise DataError("no row has both metrics.capability_change and metrics.unseen; nothing can be drawn.")
    scale = _scale(found)
    spots = [(scale.x(p.change), scale.y(p.defence)) for p in found]
    wanted = [
        Wanted(x, y, p.radius, 1.06 * width_of(_told(p), 12) + 8, LABEL) for p, (x, y) in zip(found, spots, strict=True)
    ]
    frame = Box(scale.left + 2, scale.top - 26, scale.right + 16, scale.bottom - 2)
    boxes = place(wanted, _taken(scale, found), frame)
    parts = [_zone(scale), _grid(scale)]
    parts += [_bar(scale, p, y) for p, (_, y) in zip(found, spots, strict=True)]
    parts += [_seeds(scale, p, spot) for p, spot in zip(found, spots, strict=True) if len(p.seeds) > 1]
    parts += [_mark(p, *spot) for p, spot in zip(found, spots, strict=True)]
    parts += [_label(p, w, box) for p, w, box in zip(found, wanted, boxes, strict=True) if box is not None]
    homeless = [p for p, box in zip(found, boxes, strict=True) if box is None]
    height = scale.bottom + 92 + 18 * len(homeless)
    parts.append(_legend(scale.bottom + 66))
    for index, point in enumerate(homeless):
        parts.append(svg.text(0, scale.bottom + 92 + 18 * index, f"No room for a label: {_spoken(point)}", "m s"))
    told = "; ".join(_spoken(point) for point in found)
    return svg.figure(WIDE, height, f"Ways of training: capability change and defence. {told}.", *parts)


def _point(method: Method) -> Point | None:
    both = [
        (row.metrics.capability_change, row.metrics.unseen)
        for row in method.rows
        if row.metrics.capability_change is not None and row.metrics.unseen is not None
    ]
    if not both:
        return None
    seeds = tuple((change.value, float(unseen)) for change, unseen in both if unseen is not None)
    over = method.values(lambda row: row.metrics.over_refusal)
    return Point(
        method,
        change=sum(x for x, _ in seeds) / len(seeds),
        low=min(change.low for change, _ in both),
        high=max(change.high for change, _ in both),
        defence=sum(y for _, y in seeds) / len(seeds),
        over_refusal=sum(over) / len(over) if over else None,
        seeds=seeds,
    )


def _scale(found: Sequence[Point]) -> _Scale:
    low = min(-2 * CAPABILITY_BUDGET, *(p.low for p in found))
    high = max(CAPABILITY_BUDGET, *(p.high for p in found))
    lowest = min(y for p in found for _, y in p.seeds)
    floor = max(0.0, math.floor(10 * (lowest - 0.02)) / 10)
    return _Scale(42, WIDE - 24, 58, 500, low - 0.02 * (high - low), high + 0.02 * (high - low), min(floor, 0.9))


def _taken(scale: _Scale, found: Sequence[Point]) -> list[Box]:
    """What no label may cover: seeds, and the bars of the intervals."""
    seeds = [around(scale.x(x), scale.y(y), 3.5) for p in found for x, y in p.seeds]
    bars = [Box(scale.x(p.low), scale.y(p.defence) - 2, scale.x(p.high), scale.y(p.defence) + 2) for p in found]
    return [*seeds, *bars]


def _zone(scale: _Scale) -> str:
    """What the budget allows, shaded, and what it is."""
    start = scale.x(-CAPABILITY_BUDGET)
    shade = svg.rect(start, scale.top - 8, scale.right - start, scale.bottom - scale.top + 8, "zone", radius=0)
    return shade + svg.line(scale.x(0), scale.top - 8, scale.x(0), scale.bottom, "axis")


def _grid(scale: _Scale) -> str:
    parts = [
        svg.text(0, 14, "Defence under attacks never seen in training, % (stretched towards 100) ↑", "b"),
        svg.text(scale.right, scale.bottom + 40, _axis_title(scale), "b", "end"),
        svg.text(scale.right, 32, "shaded: at most 1 point of capability lost", "goal-text s", "end"),
    ]
    above = math.inf
    for share in (each for each in SHARES if each >= scale.floor):
        y = scale.y(share)
        if above - y < 18:
            continue
        above = y
        parts += [
            svg.line(scale.left, y, scale.right, y, "grid"),
            svg.text(scale.left - 7, y + 4, f"{100 * share:g}", "m s", "end"),
        ]
    near = -math.inf
    chosen = [t for t in TICKS if scale.low <= t <= scale.high] if scale.bent else svg.ticks(scale.low, scale.high, 8)
    for change in chosen:
        x = scale.x(change)
        if x - near < 24:
            continue
        near = x
        shown = f"{100 * change:+g}".replace("-", "\u2212") if abs(change) > 1e-9 else "0"
        parts += [
            svg.line(x, scale.bottom, x, scale.bottom + 4, "axis"),
            svg.text(x, scale.bottom + 18, shown, "m s", "middle"),
        ]
    return "".join(parts)


def _axis_title(scale: _Scale) -> str:
    bent = " (beyond ±1 ever more compressed)" if scale.bent else ""
    return f"Capability change against the base, points{bent} →"


def _bar(scale: _Scale, point: Point, y: float) -> str:
    style = "ok-line" if _is_good(point) else "was-line"
    return svg.line(scale.x(point.low), y, scale.x(point.high), y, f"{style} thin")


def _seeds(scale: _Scale, point: Point, spot: tuple[float, float]) -> str:
    """Rings with a spoke to their mean, which tells whose they are."""
    places = [(scale.x(x), scale.y(y)) for x, y in point.seeds]
    spokes = [svg.line(*spot, x, y, "spoke") for x, y in places]
    return "".join([*spokes, *(svg.circle(x, y, 2.5, "hollow") for x, y in places)])


def _mark(point: Point, x: float, y: float) -> str:
    tip = svg.title(_spoken(point))
    if point.method.name == BASE:
        return svg.diamond(x, y, 7, "hollow", tip)
    return svg.circle(x, y, point.radius, "good" if _is_good(point) else "was ring", tip)


def _is_good(point: Point) -> bool:
    """The base holds everything by definition, and is no method."""
    return point.method.name != BASE and point.method.holds()


def _told(point: Point) -> str:
    over = "" if point.over_refusal is None else f" {percent(point.over_refusal, 0)}"
    return f"{point.method.name}{over}"


def _spoken(point: Point) -> str:
    over = "" if point.over_refusal is None else f", over-refusal {percent(point.over_refusal)}"
    return (
        f"{point.method.name}: defence {percent(point.defence)}, capability {points(point.change)} points "
        f"({points(point.low)} to {points(point.high)}){over}"
    )


def _label(point: Point, wanted: Wanted, box: Box) -> str:
    x1, y1, x2, y2 = leader(wanted, box)
    line = svg.line(x1, y1, x2, y2, "lead") if math.hypot(x2 - x1, y2 - y1) > 8 else ""
    over = "" if point.over_refusal is None else percent(point.over_refusal, 0)
    style = "b s halo" if _is_good(point) else "s halo"
    return line + svg.labelled(box.left + 4, box.bottom - 4, point.method.name, over, style)


def _legend(y: float) -> str:
    """Signs in words; the second line explains sizes."""
    parts = [svg.circle(8, y - 4, 6, "good"), svg.text(20, y, _HOLDS, "s")]
    x = 20 + width_of(_HOLDS, 12) + 26
    parts += [svg.circle(x, y - 4, 6, "was ring"), svg.text(x + 12, y, "does not", "s")]
    x += 12 + width_of("does not", 12) + 26
    parts += [svg.circle(x, y - 4, 2.5, "hollow"), svg.text(x + 10, y, "one seed", "s")]
    second = (
        "Beside a name, and as the size of its mark: harmless requests refused. Bar: the widest of the 95% intervals."
    )
    return "".join([*parts, svg.text(0, y + 20, second, "m s")])


_HOLDS = (
    f"every seed: loss ≤ {100 * CAPABILITY_BUDGET:g} point proven, over-refusal ≤ base + "
    f"{100 * OVER_REFUSAL_BUDGET:g} points"
)
