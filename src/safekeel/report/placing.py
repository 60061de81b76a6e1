"""Where the labels of a scatter plot go: beside their marks, none over another label or a mark.

Greedy: the most crowded mark first, the nearest free place for each. An optimum (simulated annealing, as in d3-labeler)
would look little better with a dozen labels, and would not be the same on every run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

STEPS = 24
"""Directions that are tried at every distance."""
DISTANCES = tuple(range(4, 412, 8))
"""Pixels from the mark to the nearest edge of its label."""
CROSSING = 70.0
"""What a leader line over a mark, a label or another leader costs, in pixels of distance."""


Line = tuple[float, float, float, float]
"""x1, y1, x2, y2."""


class Box(NamedTuple):
    """A rectangle in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        """Whether the two have any area in common."""
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def within(self, other: Box) -> bool:
        """Whether this lies wholly inside the other."""
        return (
            self.left >= other.left
            and self.top >= other.top
            and self.right <= other.right
            and self.bottom <= other.bottom
        )


class Wanted(NamedTuple):
    """A label that needs a place: its mark (pixels, radius) and its size."""

    x: float
    y: float
    radius: float
    width: float
    height: float


def around(x: float, y: float, radius: float) -> Box:
    """The box of a round mark."""
    return Box(x - radius, y - radius, x + radius, y + radius)


def place(wanted: Sequence[Wanted], taken: Sequence[Box], frame: Box) -> list[Box | None]:
    """A box per label, in the order given; None where no free place is left inside the frame.

    Args:
        taken: what no label may cover, the labels' own marks among it.
    """
    marks = [around(each.x, each.y, each.radius) for each in wanted]
    found: list[Box | None] = [None] * len(wanted)
    leaders: list[Line] = []
    for index in sorted(range(len(wanted)), key=lambda i: -_crowd(wanted, i)):
        label = wanted[index]
        labels = [box for box in found if box is not None]
        blocked = [*taken, *marks, *labels]
        others = [*(mark for i, mark in enumerate(marks) if i != index), *labels]
        best = _best(label, frame, blocked, others, leaders)
        if best is None:
            continue
        found[index] = best
        leaders.append(leader(label, best))
    return found


def leader(label: Wanted, box: Box) -> Line:
    """The line from the mark to the nearest point of its label: x1, y1, x2, y2."""
    x = min(max(label.x, box.left), box.right)
    y = min(max(label.y, box.top + 3), box.bottom - 3)
    length = math.hypot(x - label.x, y - label.y) or 1.0
    cut = min(label.radius, length) / length
    return label.x + (x - label.x) * cut, label.y + (y - label.y) * cut, x, y


def _crowd(wanted: Sequence[Wanted], index: int) -> float:
    """How close the other marks are."""
    mark = wanted[index]
    return sum(
        1 / (20 + math.hypot(mark.x - other.x, mark.y - other.y)) for i, other in enumerate(wanted) if i != index
    )


def _best(
    label: Wanted, frame: Box, blocked: Sequence[Box], others: Sequence[Box], leaders: Sequence[Line]
) -> Box | None:
    """The cheapest free place. A place costs at least its distance, so those beyond the best one are not looked at."""
    best, least = None, math.inf
    for distance, box in _places(label):
        if distance > least:
            break
        if not box.within(frame) or any(box.meets(other) for other in blocked):
            continue
        cost = distance + CROSSING * _crossings(label, box, others, leaders)
        if cost < least:
            best, least = box, cost
    return best


def _places(label: Wanted) -> Iterator[tuple[float, Box]]:
    """Distances and boxes around a mark, nearest first; to the right first, where a reader looks."""
    for distance in DISTANCES:
        for step in range(STEPS):
            angle = 2 * math.pi * step / STEPS
            reach = label.radius + distance
            x, y = label.x + reach * math.cos(angle), label.y + reach * math.sin(angle)
            left = x - label.width * (1 - math.cos(angle)) / 2
            top = y - label.height * (1 - math.sin(angle)) / 2
            yield float(distance), Box(left, top, left + label.width, top + label.height)


def _crossings(label: Wanted, box: Box, others: Sequence[Box], leaders: Sequence[Line]) -> int:
    """How many marks, labels and leaders the new leader would cross, and leaders the label would lie on."""
    line = leader(label, box)
    over = sum(_cuts(line, other) for other in others) + sum(_cross(line, other) for other in leaders)
    return over + sum(_cuts(other, box) for other in leaders)


def _cuts(line: Line, box: Box) -> bool:
    """Whether a line passes through a box (Liang and Barsky's clipping)."""
    x1, y1, x2, y2 = line
    start, end = 0.0, 1.0
    for origin, step, low, high in ((x1, x2 - x1, box.left, box.right), (y1, y2 - y1, box.top, box.bottom)):
        if step == 0:
            if not low < origin < high:
                return False
            continue
        first, last = sorted(((low - origin) / step, (high - origin) / step))
        start, end = max(start, first), min(end, last)
    return start < end


def _cross(one: Line, two: Line) -> bool:
    """Whether two line segments cross."""

    def side(ax: float, ay: float, bx: float, by: float, cx: float, cy: float) -> float:
        return (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)

    first = side(*one, *two[:2]) * side(*one, *two[2:])
    second = side(*two, *one[:2]) * side(*two, *one[2:])
    return first < 0 and second < 0
