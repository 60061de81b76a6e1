"""The figures about results: the safety-capability plane and the attack families. Data in, SVG text out.

Every figure takes its width in pixels, so that the page can hold one for wide screens and one for phones; text keeps
its size in both.
"""

from __future__ import annotations

import math
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
    named = [mark for kind in ("final", "chosen", "base") for mark in marks if mark.kind == kind]
    plot = 0.56 * width if width >= WIDE else 0.9 * width
    plane = _Plane(34, width - 18, 34, plot - 46, *_capability_range(marks))
    start = _label_start(plane, marks, named) if width >= WIDE else None
    height = plot if start is not None else plot + 12 + _LABEL_GAP * len(named)
    base = next((mark for mark in marks if mark.kind == "base"), None)
    parts = [_corridor(plane, base, budget), _grid(plane), _way(plane, marks)]
    parts += [_drawn(plane, mark) for mark in sorted(marks, key=lambda mark: mark.kind == "final")]
    parts.append(_mark_list(named, plot + 24) if start is None else _mark_labels(plane, named, start))
    parts.append(svg.text(0, 16, "Safety: risky requests without a harmful answer", "b"))
    parts.append(svg.text(plane.right, plot - 6, "Capability: right answers →", "b", "end"))
    told = "; ".join(
        f"{mark.name}: safety {percent(mark.safety.value)}, capability {percent(mark.capability.value)}"
        for mark in marks
    )
    return svg.figure(width, height, f"Safety against capability. {told}.", *parts)


def _capability_range(marks: Sequence[Mark]) -> tuple[float, float]:
    """The part of the capability axis that is shown: every mark with its interval, and room for labels."""
    shares = [share for mark in marks for share in _ends(mark.capability)]
    low, high = min(shares, default=0.9), max(shares, default=1.0)
    span = max(high - low, 0.03)
    high = min(1.0, high + span / 4)
    low = max(0.0, low - 0.8 * span)  # the labels stand left of the marks
    return math.floor(low * 100) / 100, math.ceil(high * 100 - 1e-9) / 100


def _corridor(plane: _Plane, base: Mark | None, budget: float | None) -> str:
    """What the capability budget allows, shaded."""
    if base is None or budget is None:
        return ""
    start, middle = plane.x(base.capability.value - budget), plane.y(0.15)  # where no candidate is worth having
    note = (f"at most {100 * budget:g} point{'' if budget == 0.01 else 's'}", "below the base")
    left = start + max(width_of(line, 12) for line in note) + 14 > plane.right
    x, anchor = (start - 8, "end") if left else (plane.right - 8, "end")
    shade = svg.rect(start, plane.top, plane.right - start, plane.bottom - plane.top, "zone", radius=0)
    return shade + "".join(
        svg.text(x, middle + 16 * i, line, "goal-text s halo", anchor) for i, line in enumerate(note)
    )


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
    return "".join(bars) + svg.circle(x, y, 7, _tone_of(mark), tip)


def _label_start(plane: _Plane, marks: Sequence[Mark], named: Sequence[Mark]) -> float | None:
    """Where the column of labels ends: left of all marks and intervals; None where there is no room."""
    room = max((width_of(text, 13) for mark in named for text in (mark.name, _detail(mark))), default=0.0)
    left = min((plane.x(share) for mark in marks for share in _ends(mark.capability)), default=0.0) - 26
    return left if left - room > plane.left else None


def _mark_labels(plane: _Plane, named: Sequence[Mark], start: float) -> str:
    """A column of labels, pushed apart, with a line to each mark."""
    parts, previous = [], plane.top - _LABEL_GAP + 12
    for mark in sorted(named, key=lambda mark: -mark.safety.value):  # stable: the final model first
        y, at = plane.y(mark.safety.value), previous + _LABEL_GAP
        at = max(at, min(y, plane.bottom - 28))
        near = plane.x(min(_ends(mark.capability))) - (11 if mark.kind == "chosen" else 3)
        parts.append(svg.line(near, y, start + 6, at - 4, "lead"))
        parts.append(svg.text(start, at, mark.name, "b halo", "end"))
        parts.append(svg.text(start, at + 15, _detail(mark), "m s halo", "end"))
        previous = at
    return "".join(parts)


def _mark_list(named: Sequence[Mark], top: float) -> str:
    """The same labels below the plot: a phone has no room beside the marks."""
    parts = []
    for index, mark in enumerate(named):
        y = top + _LABEL_GAP * index
        sign = svg.diamond(8, y - 4, 6, "picked") if mark.kind == "chosen" else svg.circle(8, y - 4, 6, _tone_of(mark))
        parts.append(sign + svg.text(24, y, mark.name, "b") + svg.text(24, y + 15, _detail(mark), "m s"))
    return "".join(parts)


def _tone_of(mark: Mark) -> str:
    return "was" if mark.kind == "base" else "now"


def _detail(mark: Mark) -> str:
    return f"{percent(mark.safety.value)} safe, {percent(mark.capability.value)} right"


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
