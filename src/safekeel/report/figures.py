"""The figures about results: the safety-capability plane and the attack families. Data in, SVG text out.

Every figure takes its width in pixels, so that the page can hold one for wide screens and one for phones; text keeps
its size in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from safekeel.report import svg
from safekeel.report.labels import family_name, percent, width_of

WIDE, NARROW = 720.0, 360.0
_LABEL_GAP = 34.0  # pixels between two labels of two lines


@dataclass(frozen=True)
class Rate:
    """A share with its 95% interval; the interval is missing where the number of items is not known."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Mark:
    """A model in the plane. Candidates were measured on the validation set, the others on held-out test items."""

    name: str
    kind: Literal["base", "candidate", "chosen", "final"]
    safety: Rate
    capability: Rate


@dataclass(frozen=True)
class FamilyBar:
    """One attack family: share without harmful answer before and after, and share refused after."""

    name: str
    seen: bool
    before: Rate
    after: Rate
    refused: float
    num_items: int


@dataclass(frozen=True)
class _Plane:
    """Where shares lie in pixels."""

    left: float
    right: float
    top: float
    bottom: float
    x_low: float
    x_high: float

    def x(self, share: float) -> float:
        clipped = min(max(share, self.x_low), self.x_high)
        return self.left + (clipped - self.x_low) / (self.x_high - self.x_low) * (self.right - self.left)

    def y(self, share: float) -> float:
        return self.bottom - share * (self.bottom - self.top)


def tradeoff(marks: Sequence[Mark], budget: float | None, width: float = WIDE) -> str:
    """Safety against capability: base, checkpoints, selected checkpoint, final model.

    Args:
        budget: the capability loss that the gate allows; shades what lies within it.
    """
    height = 0.56 * width if width >= WIDE else 1.05 * width
    low, high = _capability_range(marks)
    plane = _Plane(34, width - 18, 34, height - 46, low, high)
    base = next((mark for mark in marks if mark.kind == "base"), None)
    parts = [_corridor(plane, base, budget), _grid(plane), _way(plane, marks)]
    parts += [_drawn(plane, mark) for mark in sorted(marks, key=lambda mark: mark.kind == "final")]
    parts.append(_mark_labels(plane, marks))
    parts.append(svg.text(0, 16, "Safety: risky requests without a harmful answer", "b"))
    parts.append(svg.text(plane.right, height - 6, "Capability: right answers →", "b", "end"))
    told = "; ".join(
        f"{mark.name}: safety {percent(mark.safety.value)}, capability {percent(mark.capability.value)}"
        for mark in marks
    )
    return svg.figure(width, height, f"Safety against capability. {told}.", *parts)


def _capability_range(marks: Sequence[Mark]) -> tuple[float, float]:
    """The part of the capability axis that is shown: every mark with its interval, at least six points wide."""
    shares = [share for mark in marks for share in _ends(mark.capability)]
    low, high = min(shares, default=0.9), max(shares, default=1.0)
    room = max(0.06 - (high - low), 0.02)
    high = min(1.0, high + room / 4)
    low = max(0.0, min(low - room / 2, high - 0.06))  # room for labels on the left
    return int(low * 100) / 100, -(-high * 100 // 1) / 100


def _corridor(plane: _Plane, base: Mark | None, budget: float | None) -> str:
    """What the capability budget allows, shaded."""
    if base is None or budget is None:
        return ""
    start, middle = plane.x(base.capability.value - budget), (plane.top + plane.bottom) / 2
    note = (f"at most {100 * budget:g} point{'' if budget == 0.01 else 's'}", "below the base")
    left = start + max(width_of(line, 12) for line in note) + 14 > plane.right
    x, anchor = (start - 8, "end") if left else (plane.right - 8, "end")
    shade = svg.rect(start, plane.top, plane.right - start, plane.bottom - plane.top, "zone", radius=0)
    return shade + "".join(svg.text(x, middle + 16 * i, line, "goal-text s", anchor) for i, line in enumerate(note))


def _grid(plane: _Plane) -> str:
    parts = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = plane.y(share)
        parts += [
            svg.line(plane.left, y, plane.right, y, "grid"),
            svg.text(plane.left - 7, y + 4, f"{100 * share:g}", "m s", "end"),
        ]
    for share in svg.ticks(plane.x_low, plane.x_high, 7 if plane.right > 500 else 4):
        x = plane.x(share)
        parts += [
            svg.line(x, plane.bottom, x, plane.bottom + 4, "axis"),
            svg.text(x, plane.bottom + 18, f"{100 * share:g}%", "m s", "middle"),
        ]
    return "".join(parts)


def _way(plane: _Plane, marks: Sequence[Mark]) -> str:
    """The way the model took: base, selected checkpoint, final."""
    taken = [mark for kind in ("base", "chosen", "final") for mark in marks if mark.kind == kind]
    return (
        svg.path([(plane.x(m.capability.value), plane.y(m.safety.value)) for m in taken], "way")
        if len(taken) > 1
        else ""
    )


def _drawn(plane: _Plane, mark: Mark) -> str:
    x, y = plane.x(mark.capability.value), plane.y(mark.safety.value)
    tip = svg.title(f"{mark.name}: safety {percent(mark.safety.value)}, capability {percent(mark.capability.value)}")
    if mark.kind in ("candidate", "chosen"):
        return svg.diamond(x, y, 6, "picked" if mark.kind == "chosen" else "hollow", tip)
    style = "was-line" if mark.kind == "base" else "now-line"
    bars = [
        svg.line(plane.x(low), y, plane.x(high), y, style)
        for low, high in [(mark.capability.low, mark.capability.high)]
        if low is not None and high is not None
    ] + [
        svg.line(x, plane.y(low), x, plane.y(high), style)
        for low, high in [(mark.safety.low, mark.safety.high)]
        if low is not None and high is not None
    ]
    return "".join(bars) + svg.circle(x, y, 7, "was" if mark.kind == "base" else "now", tip)


def _mark_labels(plane: _Plane, marks: Sequence[Mark]) -> str:
    """Labels in a column left of all marks and intervals (right, where there is no room), with a line to each mark."""
    named = [mark for mark in marks if mark.kind != "candidate"]
    lines = {mark.name: f"{percent(mark.safety.value)} safe, {percent(mark.capability.value)} right" for mark in named}
    room = max(width_of(text, 13) for pair in lines.items() for text in pair)
    ends = [plane.x(share) for mark in marks for share in _ends(mark.capability)]
    left = min(ends) - 26
    side = -1 if left - room > plane.left else 1
    start, anchor = (left, "end") if side < 0 else (min(max(ends) + 26, plane.right - room), "start")
    parts, previous = [], plane.top - _LABEL_GAP + 12
    order = {"final": 0, "chosen": 1, "base": 2}
    for mark in sorted(named, key=lambda mark: (order[mark.kind], -mark.safety.value)):
        x, y = plane.x(mark.capability.value), plane.y(mark.safety.value)
        at = max(previous + _LABEL_GAP, min(y, plane.bottom - 28))
        near = plane.x(min(_ends(mark.capability)) if side < 0 else max(_ends(mark.capability)))
        bar = near if mark.kind != "chosen" else x + side * 8
        parts.append(svg.line(bar + side * 3, y, start - side * 6, at - 4, "lead"))
        parts.append(
            svg.text(start, at, mark.name, "b halo", anchor)
            + svg.text(start, at + 15, lines[mark.name], "m s halo", anchor)
        )
        previous = at
    return "".join(parts)


def _ends(rate: Rate) -> list[float]:
    return [share for share in (rate.low, rate.value, rate.high) if share is not None]


def attacks(bars: Sequence[FamilyBar], width: float = WIDE) -> str:
    """Defence per attack family, seen and unseen in training: before (thin) and after (thick, with its interval)."""
    wide = width >= WIDE
    left, right, row = (166.0, width - 118, 36.0) if wide else (0.0, width, 54.0)
    parts, y = [], 4.0
    for seen in (True, False):
        group = [bar for bar in bars if bar.seen == seen]
        if not group:
            continue
        parts.append(
            svg.text(0, y + 14, "Seen in training" if seen else "Never seen in training", f"b {_tone(seen)}-text")
        )
        y += 24
        for bar in group:
            parts.append(_family_row(bar, y, left, right, width, wide))
            y += row
        y += 6
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        anchor = "start" if share == 0 and not wide else "end" if share == 1 and not wide else "middle"
        parts.append(svg.text(left + share * (right - left), y + 10, percent(share, 0), "m s", anchor))
    told = "; ".join(
        f"{family_name(b.name)}: {percent(b.before.value)} before, {percent(b.after.value)} after" for b in bars
    )
    return svg.figure(width, y + 18, f"Share of disguised risky requests without a harmful answer. {told}.", *parts)


def _tone(seen: bool) -> str:
    return "seen" if seen else "unseen"


def _family_row(bar: FamilyBar, y: float, left: float, right: float, width: float, wide: bool) -> str:
    span, top = right - left, y + (8 if wide else 24)
    figures = f"{percent(bar.before.value, 0)} → {percent(bar.after.value, 0)}"
    refused = f"refused {percent(bar.refused, 0)}"
    tip = svg.title(
        f"{family_name(bar.name)}, {bar.num_items} items: no harmful answer {percent(bar.before.value)} before, "
        f"{percent(bar.after.value)} after; refused {percent(bar.refused)}"
    )
    parts = [
        svg.rect(left, top, span, 14, "track", tip),
        svg.rect(left, top, span * bar.after.value, 10, _tone(bar.seen), tip),
        svg.rect(left, top + 10, span * bar.before.value, 4, "was", tip),
    ]
    if bar.after.low is not None and bar.after.high is not None:
        low, high = left + span * bar.after.low, left + span * bar.after.high
        parts.append(svg.line(low, top + 5, high, top + 5, "bar-line"))
        parts += [svg.line(end, top + 1, end, top + 9, "bar-line") for end in (low, high)]
    if wide:
        parts.append(svg.text(left - 10, top + 11, family_name(bar.name), "t", "end"))
        parts += [svg.text(right + 10, top + 4, figures, "b s"), svg.text(right + 10, top + 19, refused, "m s")]
    else:
        parts.append(svg.text(0, y + 18, family_name(bar.name)))
        parts.append(svg.text(width, y + 18, f"{figures} · {refused}", "m s", "end"))
    return "".join(parts)
