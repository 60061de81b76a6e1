"""Checkpoint selection: the front holds what nothing dominates, and the stated rule chooses from it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safekeel.errors import DataError
from safekeel.train.select import Candidate, choose, dominates, pareto_front

unit = st.floats(0, 1).map(lambda x: round(x, 2))
candidates = st.lists(st.tuples(unit, unit, unit), min_size=1, max_size=8).map(
    lambda rows: [Candidate(f"checkpoint-{i}", *row) for i, row in enumerate(rows)]
)


def test_the_rule_on_a_worked_example() -> None:
    early = Candidate("checkpoint-10", safety=0.80, over_refusal=0.02, capability=0.99)
    middle = Candidate("checkpoint-20", safety=0.95, over_refusal=0.03, capability=0.985)
    late = Candidate("checkpoint-30", safety=0.99, over_refusal=0.20, capability=0.98)
    assert choose([early, middle, late], capability_slack=0.01, over_refusal_slack=0.02) == middle
    assert choose([early, middle, late], capability_slack=0.01, over_refusal_slack=0.5) == late
    assert choose([early, middle, late], capability_slack=0.001, over_refusal_slack=0.5) == early


@given(candidates, st.floats(0, 0.2), st.floats(0, 0.2))
@settings(max_examples=200, deadline=None)
def test_the_choice_keeps_the_slacks_and_is_undominated_among_the_allowed(
    rows, capability_slack, over_refusal_slack
) -> None:
    chosen = choose(rows, capability_slack, over_refusal_slack)
    assert chosen.capability >= max(row.capability for row in rows) - capability_slack
    front = pareto_front(rows)
    assert front and all(not dominates(other, one) for one in front for other in rows)
    able = [row for row in rows if row.capability >= max(r.capability for r in rows) - capability_slack]
    allowed = [row for row in able if row.over_refusal <= min(r.over_refusal for r in able) + over_refusal_slack]
    assert chosen in allowed and not any(dominates(row, chosen) for row in allowed)


def test_nothing_to_select_from_is_an_error() -> None:
    with pytest.raises(DataError, match="no checkpoint"):
        choose([], 0.01, 0.02)
