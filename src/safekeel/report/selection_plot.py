"""The candidates of a selection in the plane of capability and safety, with their bounds and the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from safekeel.report import svg
from safekeel.report.figures import WIDE
from safekeel.report.labels import percent, points, width_of
from safekeel.report.placing import Box, Wanted, around, leader, place
from safekeel.report.selected import Candidate, Selection

RADIUS = 5.0


@dataclass(frozen=True)
class Spot:
    """A candidate as it is drawn: `x` is the capability (a share, or the change against the base), both with ends."""

    candidate: Candidate
    x: float
    x_low: float | None
    x_high: float | None
    y_low: float | None


@dataclass(frozen=True)
class _Plane:
    """Where fractions lie in pixels."""

    left: float
    right: float
    top: float
    bottom: float
    x_low: float
    x_high: float
    y_low: float

    def x(self, value: float) -> float:
        return self.left + (value - self.x_low) / (self.x_high - self.x_low) * (self.right - self.left)

    def y(self, share: float) -> float:
        return self.bottom - (share - self.y_low) / (1 - self.y_low) * (self.bottom - self.top)


def is_worth_drawing(selection: Selection) -> bool:
    """Bounds or alphas to show; plain checkpoints are in the first figure of the page already."""
    found = selection.candidates
    return len(found) > 1 and (any(each.bounds for each in found) or any(each.alpha not in (None, 1) for each in found))


def draw(selection: Selection, width: float = WIDE) -> str:
    """Candidates as marks: filled on the Pareto front, round where qualified, a diamond where undecided, a cross where
    a budget is broken. Bars reach to the one-sided bounds."""
    paired = all(each.bounds for each in selection.candidates)
    spots = [_spot(each, paired) for each in selection.candidates]
    plane = _plane(spots, width, -selection.budgets.capability if paired and selection.budgets else None)
    parts = [_budget(plane, selection, paired), _grid(plane, paired, width), _paths(plane, spots), _front(plane, spots)]
    parts += [_bars(plane, spot) for spot in spots]
    parts += [_mark(plane, spot) for spot in sorted(spots, key=lambda spot: spot.candidate.chosen)]
    legend, end = _legend(plane.bottom + 62, width, selection)
    parts += [_labels(plane, spots), legend]
    told = "; ".join(_spoken(spot) for spot in spots)
    return svg.figure(width, end + 10, f"Candidates on the validation set: capability and safety. {told}.", *parts)


def _spot(each: Candidate, paired: bool) -> Spot:
    if not paired or each.bounds is None:
        return Spot(each, each.capability, None, None, None)
    loss = each.bounds.capability_loss
    ends = (None if loss.upper is None else -loss.upper, None if loss.lower is None else -loss.lower)
    return Spot(each, -loss.value, *ends, each.bounds.safety.lower)


def _plane(spots: Sequence[Spot], width: float, budget: float | None) -> _Plane:
    xs = [x for spot in spots for x in (spot.x, spot.x_low, spot.x_high) if x is not None]
    xs += [] if budget is None else [1.3 * budget, 0.0]
    ys = [y for spot in spots for y in (spot.candidate.safety, spot.y_low) if y is not None]
    span = max(max(xs) - min(xs), 0.01)
    low = max(0.0, int(10 * (min(ys) - 0.03)) / 10)
    height = 0.5 * width if width >= WIDE else 0.85 * width
    return _Plane(38, width - 18, 34, height, min(xs) - 0.05 * span, max(xs) + 0.05 * span, min(low, 0.9))


def _budget(plane: _Plane, selection: Selection, paired: bool) -> str:
    if not paired or selection.budgets is None:
        return ""
    start = plane.x(-selection.budgets.capability)
    words = (
        f"loss within {100 * selection.budgets.capability:g} point{'' if selection.budgets.capability == 0.01 else 's'}"
    )
    shade = svg.rect(start, plane.top, plane.right - start, plane.bottom - plane.top, "zone", radius=0)
    return shade + svg.text(plane.right - 6, plane.bottom - 8, words, "goal-text s", "end")


def _grid(plane: _Plane, paired: bool, width: float) -> str:
    what = "Capability change against the base, points →" if paired else "Capability: right answers →"
    parts = [
        svg.text(0, 16, "Safety: no harmful answer, % ↑", "b"),
        svg.text(plane.right, plane.bottom + 38, what, "b", "end"),
    ]
    for share in svg.ticks(plane.y_low, 1.0, 6):
        y = plane.y(share)
        parts += [
            svg.line(plane.left, y, plane.right, y, "grid"),
            svg.text(plane.left - 6, y + 4, f"{100 * share:g}", "m s", "end"),
        ]
    for value in svg.ticks(plane.x_low, plane.x_high, 8 if width >= WIDE else 5):
        x = plane.x(value)
        shown = (points(value, 1).removesuffix(".0") if abs(value) > 1e-9 else "0") if paired else f"{100 * value:g}%"
        parts += [
            svg.line(x, plane.bottom, x, plane.bottom + 4, "axis"),
            svg.text(x, plane.bottom + 18, shown, "m s", "middle"),
        ]
    return "".join(parts)


def _paths(plane: _Plane, spots: Sequence[Spot]) -> str:
    """The alphas of one checkpoint, joined."""
    names = dict.fromkeys(spot.candidate.checkpoint for spot in spots if spot.candidate.checkpoint)
    lines = []
    for name in names:
        own = sorted(
            (spot for spot in spots if spot.candidate.checkpoint == name), key=lambda spot: spot.candidate.alpha or 1.0
        )
        if len(own) > 1:
            lines.append(svg.path([(plane.x(s.x), plane.y(s.candidate.safety)) for s in own], "spoke"))
    return "".join(lines)


def _front(plane: _Plane, spots: Sequence[Spot]) -> str:
    """The edge of what was reached in this plane. A filled mark off it is on the front by its over-refusal."""
    edge, best = [], -1.0
    for spot in sorted(spots, key=lambda spot: (-spot.x, -spot.candidate.safety)):
        if spot.candidate.safety > best:
            edge.append((plane.x(spot.x), plane.y(spot.candidate.safety)))
            best = spot.candidate.safety
    return svg.path(edge, "way") if len(edge) > 1 else ""


def _bars(plane: _Plane, spot: Spot) -> str:
    style = "now-line thin" if spot.candidate.pareto else "was-line thin"
    x, y = plane.x(spot.x), plane.y(spot.candidate.safety)
    across = ""
    if spot.x_low is not None and spot.x_high is not None:
        across = svg.line(plane.x(spot.x_low), y, plane.x(spot.x_high), y, style)
    return across + ("" if spot.y_low is None else svg.line(x, y, x, plane.y(spot.y_low), style))


def _bar_box(plane: _Plane, spot: Spot) -> Box:
    y = plane.y(spot.candidate.safety)
    ends = [plane.x(end) for end in (spot.x_low, spot.x, spot.x_high) if end is not None]
    return Box(min(ends), y - 2, max(ends), y + 2)


def _mark(plane: _Plane, spot: Spot) -> str:
    each, x, y = spot.candidate, plane.x(spot.x), plane.y(spot.candidate.safety)
    tip = svg.title(_spoken(spot))
    ring = svg.circle(x, y, RADIUS + 4.5, "chosen") if each.chosen else ""
    return ring + _sign(x, y, each.standing, each.pareto, tip)


def _sign(x: float, y: float, standing: str | None, front: bool, tip: str = "") -> str:
    style = "now ring" if front else "hollow"
    if standing == "BREACH":
        line = "cross-front" if front else "cross"
        ends = ((x - 4, y - 4, x + 4, y + 4), (x - 4, y + 4, x + 4, y - 4))
        return svg.element("g", tip, *(svg.line(*each, line) for each in ends))
    return svg.diamond(x, y, 6, style, tip) if standing == "INCONCLUSIVE" else svg.circle(x, y, RADIUS, style, tip)


def _labels(plane: _Plane, spots: Sequence[Spot]) -> str:
    """Names of the front and of the chosen one, where there is room; every name is in the table."""
    named = [spot for spot in spots if spot.candidate.pareto or spot.candidate.chosen]
    named.sort(key=lambda spot: not spot.candidate.chosen)
    wanted = [
        Wanted(plane.x(s.x), plane.y(s.candidate.safety), RADIUS + 5, 1.06 * width_of(_name(s), 12) + 8, 16)
        for s in named
    ]
    marks = [around(plane.x(spot.x), plane.y(spot.candidate.safety), RADIUS + 2) for spot in spots]
    marks += [_bar_box(plane, spot) for spot in spots]
    frame = Box(plane.left + 2, plane.top - 4, plane.right + 14, plane.bottom - 22)
    parts = []
    for spot, want, box in zip(named, wanted, place(wanted, marks, frame), strict=True):
        if box is not None:
            style = "b s halo" if spot.candidate.chosen else "s halo"
            parts.append(svg.line(*leader(want, box), "lead"))
            parts.append(svg.text(box.left + 4, box.bottom - 4, _name(spot), style))
    return "".join(parts)


def _name(spot: Spot) -> str:
    return f"{spot.candidate.name}, chosen" if spot.candidate.chosen else spot.candidate.name


def _spoken(spot: Spot) -> str:
    each = spot.candidate
    told = f"{each.name}: safety {percent(each.safety)}, capability {percent(each.capability)}"
    told += f", over-refusal {percent(each.over_refusal)}"
    if each.bounds is not None:
        told += f", capability change {points(spot.x)} points"
        told += "" if spot.x_low is None else f" (at worst {points(spot.x_low)})"
    told += f", {each.standing}" if each.standing else ""
    return told + (", on the Pareto front" if each.pareto else "") + (", chosen" if each.chosen else "")


def _legend(top: float, width: float, selection: Selection) -> tuple[str, float]:
    """Signs in words, in as many lines as the width needs, and the last baseline."""
    entries = [("front", "on the Pareto front"), ("hollow", "dominated"), ("chosen", "chosen")]
    if any(each.standing for each in selection.candidates):
        entries += [("PASS", "qualifies"), ("INCONCLUSIVE", "undecided"), ("BREACH", "breaks a budget")]
    parts, x, y = [], 8.0, top
    for sign, words in entries:
        room = 14 + width_of(words, 12) + 22
        if x + room > width + 20:
            x, y = 8.0, y + 20
        if sign in ("front", "hollow"):
            parts.append(svg.rect(x - 5, y - 9, 10, 10, "now" if sign == "front" else "hollow"))
        else:
            parts.append(svg.circle(x, y - 4, 6, sign) if sign == "chosen" else _sign(x, y - 4, sign, False))
        parts.append(svg.text(x + 12, y, words, "m s"))
        x += room
    return "".join(parts), y
