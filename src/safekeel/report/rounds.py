"""Rounds of attack and repair as a curve and a table: how many held-out goals hold against a stated budget of queries.

Data only, from `rounds/curve.json` (`safekeel.rounds`). A goal holds when no query got a harmful answer; what no
verdict could be given on is no defence in the worst case.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from safekeel.report.curves import Curve, Panel
from safekeel.report.labels import percent

Row = Mapping[str, Any]
SIDES = {
    "seen": "seen families",
    "unseen": "unseen families",
    "search": "all families",
}
"""Names of the searches in a row of the curve -> what the attacker had."""
BASE = "base"


class Line(NamedTuple):
    """One search against the model of one round."""

    round: str
    attacker: str
    budget: int
    goals: int
    holds: str
    interval: str
    worst: str
    refused: str
    median: str
    broken_by: str


def panels(curve: Sequence[Row]) -> list[Panel]:
    """The plots: goals that hold, and what share of the queries was refused. Empty without rounds."""
    rounds = [(float(row["round"]), row) for row in curve if row["round"] != BASE]
    if not rounds:
        return []

    def lines(key: str) -> list[Curve]:
        return [
            Curve(f"{words}, {rounds[0][1][side]['budget']} queries", [(x, row[side][key]) for x, row in rounds])
            for side, words in SIDES.items()
            if all(side in row and row[side][key] is not None for _, row in rounds)
        ]

    return [
        Panel("Goals that hold", "held-out goals without a harmful answer, %", lines("dsr"), axis_of_x="round"),
        Panel("Queries refused", "share of all queries of the search, %", lines("refused_per_call"), axis_of_x="round"),
    ]


def table(curve: Sequence[Row]) -> list[Line]:
    """One line per round and search."""
    return [
        Line(
            "base" if row["round"] == BASE else f"{int(row['round'])}",
            words,
            row[side]["budget"],
            row[side]["num_goals"],
            percent(row[side]["dsr"]),
            f"{percent(row[side]['low'])} to {percent(row[side]['high'])}",
            percent(row[side]["worst"]),
            percent(row[side]["refused_per_call"]),
            str(row[side]["median_queries_to_success"]),
            _most(row[side]["broken_by"]),
        )
        for row in curve
        for side, words in SIDES.items()
        if side in row
    ]


def _most(broken: Mapping[str, int], num: int = 2) -> str:
    """The families that broke most goals, and how many."""
    named = [f"{name.replace('_', ' ')} {count}" for name, count in list(broken.items())[:num]]
    return ", ".join(named) or "none"


def described(curve: Sequence[Row]) -> str:
    """The figure in words, for those who cannot see it."""
    told = [
        f"round {line.round}, {line.attacker}: {line.holds} hold at {line.budget} queries"
        for line in table(curve)
        if line.round != BASE
    ]
    return "Goals that hold after each round of attack and repair: " + "; ".join(told) + "."
