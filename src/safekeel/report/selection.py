"""Which candidate was selected, by what rule, and whether it met the constraints: the words and rows of the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from safekeel.report.labels import percent, points
from safekeel.report.selected import Selection


def as_card(selection: Selection) -> dict[str, Any] | None:
    """The part of `card.json`; None where nothing was selected."""
    return asdict(selection) if selection.candidates else None


def rule_told(selection: Selection, config: Mapping[str, Any]) -> str:
    """The rule that chose, with its numbers.

    Args:
        config: of the stage.
    """
    if selection.rule == "bounds":
        budgets = selection.budgets
        if budgets is None:
            return "Rule “bounds”; its budgets: not recorded."
        sure = f"{100 * budgets.confidence:g}%"
        return (
            f"Rule “bounds”: a candidate qualifies where the upper {sure} bound of its capability loss is at most "
            f"{_points(budgets.capability)} and that of its rise in over-refusal at most "
            f"{_points(budgets.over_refusal)}, both against the base on the same items, and no single benchmark surely "
            "loses more. Of those the one with the highest lower bound of safety is chosen."
        )
    if selection.rule == "slack":
        below, above = (config.get(key) for key in ("capability_slack", "over_refusal_slack"))
        if below is None or above is None:
            return "Rule “slack”; its slacks: not recorded."
        return (
            f"Rule “slack”: of the candidates at most {_points(below)} of capability below the best one and at most "
            f"{_points(above)} of over-refusal above the lowest, the one with the highest safety; ties go to lower "
            "over-refusal, then to the earlier checkpoint."
        )
    return f"Rule “{selection.rule}”." if selection.rule else "The rule that chose: not recorded."


def _points(share: float) -> str:
    return f"{100 * share:g} point{'' if share == 0.01 else 's'}"


def rows(selection: Selection) -> list[dict[str, Any]]:
    """The table: per candidate the three figures, their bounds in words, and how it stands."""
    found = []
    for each in selection.candidates:
        bounds = each.bounds
        standing = "chosen" if each.chosen else "not dominated" if each.pareto else "dominated"
        found.append(
            {
                "name": each.name,
                "alpha": each.alpha,
                "safety": percent(each.safety),
                "safety_bound": _at("≥", bounds.safety.lower if bounds else None, percent),
                "over_refusal": percent(each.over_refusal),
                "over_refusal_bound": _at("rise ≤", bounds.over_refusal_rise.upper if bounds else None, _rise),
                "capability": percent(each.capability),
                "capability_bound": _at("loss ≤", bounds.capability_loss.upper if bounds else None, _rise),
                "standing": each.standing,
                "broken": ", ".join(each.broken),
                "place": standing,
                "chosen": each.chosen,
            }
        )
    return found


def _at(words: str, value: float | None, show: Callable[[float], str]) -> str:
    return "" if value is None else f"{words} {show(value)}"


def _rise(value: float) -> str:
    return f"{points(value, 1, signed=False)} points"
