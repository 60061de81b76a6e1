"""The dual controller: windows, standard errors, ascent, restart; and that no prompt pays for another one."""

from __future__ import annotations

import json
import math
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safekeel.errors import DataError
from safekeel.train.balance import (
    LAMBDA_MAX,
    LAMBDA_MIN,
    MIN_SAMPLES,
    WINDOW,
    Constraint,
    DualController,
    prompt_excess,
)

rates = st.floats(0, 1)


@given(st.lists(st.tuples(rates, rates), min_size=1, max_size=20), st.integers(0, 19), rates)
def test_no_prompt_makes_up_for_another(prompts: list[tuple[float, float]], index: int, better: float) -> None:
    """RePO: a prompt that is refused less than tolerated leaves what the others cost untouched."""

    def total(rows: list[tuple[float, float]]) -> float:
        return sum(prompt_excess(rate, tolerated) for rate, tolerated in rows)

    index %= len(prompts)
    rest = [row for position, row in enumerate(prompts) if position != index]
    tolerated = prompts[index][1]
    changed = [*rest, (min(better, tolerated), tolerated)]
    assert total(changed) == pytest.approx(total(rest))
    assert prompt_excess(0.75, 0.5) == 0.25


def test_mean_refusals_within_budget_still_violate_where_one_prompt_is_always_refused() -> None:
    """Ten prompts of which the base refuses 20% each: a policy that always refuses one of them and never the others
    refuses half as often on average, and is charged for the one all the same."""
    constraint = Constraint("over_refusal", budget=0.05)
    for rate in [1.0] + [0.0] * 9:
        constraint.observe(prompt_excess(rate, 0.2), 8)
    assert constraint.estimate == pytest.approx(0.08)
    before = constraint.log_lambda
    constraint.ascend(0.1)
    assert constraint.log_lambda > before


def test_the_window_holds_the_last_samples_and_never_fewer_than_it_should() -> None:
    constraint = Constraint("capability", budget=0.03)
    for number in range(200):
        constraint.observe(float(number), 8)
    assert constraint.num_samples == WINDOW >= 500
    assert [cost for cost, _ in constraint.costs] == list(range(200 - WINDOW // 8, 200))
    constraint.observe(0.0, 5)  # a smaller group: the oldest stays, or the window would be short
    assert constraint.num_samples == WINDOW + 5


def test_standard_error_is_over_prompts_and_weighs_groups_of_unequal_size() -> None:
    constraint = Constraint("capability", budget=0.03)
    costs = [0.0, 0.5, 1.0, 0.25, 0.0, 0.125]
    for cost in costs:
        constraint.observe(cost, 8)
    assert constraint.estimate == pytest.approx(statistics.mean(costs))
    assert constraint.standard_error == pytest.approx(statistics.stdev(costs) / math.sqrt(len(costs)))
    constraint.observe(1.0, 16)
    assert constraint.estimate == pytest.approx((8 * sum(costs) + 16) / 64)


def test_multiplier_waits_then_moves_in_proportion_to_the_filled_window() -> None:
    constraint = Constraint("over_refusal", budget=0.05, scale=0.10)
    dual = DualController({"over_refusal": constraint}, rate=0.1)
    dual.observe("over_refusal", 1.0, MIN_SAMPLES - 1)
    assert dual.step() == {"over_refusal": 1.0}
    dual.observe("over_refusal", 1.0, WINDOW // 4 - MIN_SAMPLES + 1)
    assert dual.step()["over_refusal"] == pytest.approx(math.exp(0.1 / 4))  # a quarter full; the excess is clipped at 1
    dual.observe("over_refusal", 1.0, WINDOW)
    before = constraint.log_lambda
    dual.step()
    assert constraint.log_lambda == pytest.approx(before + 0.1)
    dual.observe("over_refusal", 0.0, WINDOW)
    before = constraint.log_lambda
    dual.step()
    assert constraint.log_lambda == pytest.approx(before - 0.05)  # (0 - 0.05) / 0.10


def test_rate_zero_keeps_fixed_weights_and_unknown_costs_are_left_out() -> None:
    dual = DualController({"capability": Constraint("capability", 0.03, log_lambda=math.log(2))}, rate=0.0)
    dual.observe("capability", 1.0, WINDOW)
    dual.observe("safety", 1.0, WINDOW)
    assert dual.step() == {"capability": pytest.approx(2.0)}
    assert set(dual.figures()) == {f"{key}/capability" for key in ("lambda", "cost", "cost_samples")}  # one prompt


@given(st.lists(st.tuples(st.floats(-1, 1), st.integers(1, 64)), min_size=1, max_size=60), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_multipliers_stay_in_range_and_survive_a_restart(costs: list[tuple[float, int]], rate: float) -> None:
    def fresh() -> DualController:
        return DualController({"capability": Constraint("capability", 0.03)}, rate)

    dual, copy = fresh(), fresh()
    for cost, count in costs:
        dual.observe("capability", cost, count)
        assert LAMBDA_MIN - 1e-9 <= dual.step()["capability"] <= LAMBDA_MAX + 1e-9
    copy.restore(json.loads(json.dumps(dual.state())))
    assert copy.state() == dual.state()
    for each in (dual, copy):
        each.observe("capability", 0.5, 8)
    assert copy.step() == dual.step()


@pytest.mark.parametrize("state", [{}, {"safety": {"log_lambda": 0.0, "costs": []}}, {"capability": {"costs": [1]}}])
def test_a_state_of_another_run_is_refused(state: dict) -> None:
    with pytest.raises(DataError, match=r"[Ee]mpty the"):
        DualController({"capability": Constraint("capability", 0.03)}, 0.1).restore(state)


def test_toy_problem_the_dual_update_finds_the_budget() -> None:
    """Cost falls as its multiplier grows (cost = 0.5 / lambda^2); the multiplier must settle where cost equals
    budget, although the window lags behind."""
    constraint = Constraint("over_refusal", budget=0.05, scale=0.10)
    dual = DualController({"over_refusal": constraint}, rate=0.02)
    for _ in range(1500):
        dual.observe("over_refusal", min(1.0, 0.5 / constraint.multiplier**2), 64)
        dual.step()
    assert constraint.estimate == pytest.approx(0.05, abs=0.01)
    assert constraint.multiplier == pytest.approx(math.sqrt(10), rel=0.1)
