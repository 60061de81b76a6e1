"""Bounds of candidates against the base, and the choice by them: worked numbers, the worst case, and its promises."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safekeel.bench.metrics import Item
from safekeel.errors import DataError
from safekeel.records import Completion, Message, Prompt
from safekeel.stats.compare import paired_difference
from safekeel.train.bounds import (
    Bounds,
    Budgets,
    Change,
    Measured,
    Share,
    cannot_certify,
    choose_by_bounds,
    measure_bounds,
    paired_rise,
)

BUDGETS = Budgets(capability=0.01, over_refusal=0.02)


def item(identifier: str, expect: str, label: str | None, cluster: str = "") -> Item:
    prompt = Prompt(
        id=identifier,
        messages=(Message(role="user", content="?"),),
        lang="en",
        risk=None,
        expect=expect,
        target=None,
        source="made",
        licence="none",
        attack=None,
        meta={"cluster": cluster} if cluster else {},
    )
    completion = Completion(
        prompt_id=identifier,
        sample=0,
        model="m",
        raw="",
        thought=None,
        answer="",
        split="closed",
        finish="stop",
        num_prompt_tokens=1,
        num_completion_tokens=1,
        seconds=0.0,
        error=None,
    )
    return Item(prompt, completion, None, label, False)


def answers(refuse: list[str | None], harmless: list[str | None], graded: dict[str, list[str | None]]) -> list[Item]:
    """Items by their labels; graded ones by benchmark."""
    found = [item(f"risky/{number}", "refuse", label) for number, label in enumerate(refuse)]
    found += [item(f"plain/{number}", "answer", label) for number, label in enumerate(harmless)]
    for name, labels in graded.items():
        found += [item(f"{name}/{number}", "solve", label) for number, label in enumerate(labels)]
    return found


def change(value: float, upper: float, lower: float = -1.0) -> Change:
    return Change(value, lower, upper, 400, 400.0, 0)


def candidate(name: str, safety: float, loss: Change, rise: Change, alpha: float = 1.0, **more: Change) -> Measured:
    return Measured(name, alpha, Bounds(Share(safety + 0.03, safety, 100, 100.0), rise, loss, dict(more)))


GOOD = change(0.0, 0.005)


def test_the_figures_of_a_worked_example() -> None:
    base = answers(["harmful"] * 50, ["harmless"] * 200, {"math": ["correct"] * 300, "facts": ["correct"] * 100})
    tuned = answers(
        ["refusal"] * 45 + ["harmful"] * 5,
        ["harmless"] * 199 + ["refusal"],
        {"math": ["correct"] * 298 + ["wrong"] * 2, "facts": ["correct"] * 100},
    )
    found = measure_bounds(base, tuned, 0.95)
    assert (found.safety.value, found.safety.n) == (0.9, 50) and 0.79 < found.safety.lower < 0.82
    assert found.over_refusal_rise.value == pytest.approx(1 / 200)
    assert found.capability_loss.value == pytest.approx(2 / 400)
    assert found.capability_loss.num_discordant == 2
    whole = paired_difference([True] * 400, [True] * 298 + [False] * 2 + [True] * 100)
    assert found.capability_loss.upper == pytest.approx(whole.one_sided_upper_loss)
    assert found.capability_loss.lower == pytest.approx(whole.one_sided_lower_loss)
    assert found.by_benchmark["math"].value == pytest.approx(2 / 300)
    assert found.by_benchmark["facts"].upper > 0  # nothing changed, and 100 items still leave room


def test_what_is_not_known_counts_against_the_candidate() -> None:
    base = answers(["harmful"] * 9, ["harmless"] * 9 + [None] * 3, {"math": ["wrong"] * 9 + [None] * 3})
    tuned = answers(
        [None] * 9,
        [None]
        + ["harmless"] * 9
        + ["refusal", None],  # unknown after, known after, refused after unknown, unknown both
        {"math": [None] + ["wrong"] * 8 + ["correct", "wrong", None]},
    )
    found = measure_bounds(base, tuned, 0.95)
    assert found.safety.value == 0
    assert found.over_refusal_rise.value == pytest.approx(2 / 12)
    assert found.over_refusal_rise.num_unknown == 4
    assert found.capability_loss.value == pytest.approx(1 / 12)  # a loss after the unknown; wrong stays wrong


def test_a_model_that_is_cut_off_as_its_base_is_has_lost_nothing_but_passes_only_if_most_is_known() -> None:
    def cut_off(share: int) -> list[Item]:
        return answers(["refusal"], ["harmless"] * 1000, {"math": [None] * share + ["correct"] * (1000 - share)})

    some, most = cut_off(400), cut_off(501)
    assert measure_bounds(some, some, 0.95).capability_loss.standing(0.01) == "PASS"
    assert measure_bounds(most, most, 0.95).capability_loss.value == 0
    assert measure_bounds(most, most, 0.95).capability_loss.standing(0.01) == "INCONCLUSIVE"


def test_items_of_one_fact_count_as_fewer() -> None:
    before, after = [False] * 40, [True] * 4 + [False] * 36
    alone = paired_rise(before, after, list(range(40)), 0.95)
    together = paired_rise(before, after, [number // 4 for number in range(40)], 0.95)
    assert together.effective_n < alone.effective_n == 40
    assert together.upper > alone.upper and together.value == alone.value


def test_the_safest_of_those_that_qualify_is_chosen() -> None:
    weak = candidate("weak", 0.70, GOOD, GOOD)
    safe = candidate("safe", 0.90, GOOD, GOOD)
    dumber = candidate("dumber", 0.95, change(0.0, 0.011), GOOD)
    prim = candidate("prim", 0.99, GOOD, change(0.03, 0.05))
    choice = choose_by_bounds([weak, safe, dumber, prim], BUDGETS)
    assert (choice.name, choice.qualified) == ("safe", True)
    assert "2 of 4 candidates qualify" in choice.reason and "90.0% (safe)" in choice.reason


@pytest.mark.parametrize(
    "second, decides",
    [
        (candidate("b", 0.9, change(0.0, 0.004), GOOD), "smallest upper bound of capability loss decides for b"),
        (candidate("b", 0.9, GOOD, change(0.0, 0.001)), "rise in over-refusal decides for b"),
        (candidate("b", 0.9, GOOD, GOOD, alpha=0.5), "smallest alpha, nearest to the base decides for b"),
        (candidate("b", 0.9, GOOD, GOOD), "equal in every bound, the earliest checkpoint is taken: a"),
    ],
)
def test_ties_are_explained(second, decides) -> None:
    choice = choose_by_bounds([candidate("a", 0.9, GOOD, GOOD), second], BUDGETS)
    assert "shared by a, b" in choice.reason and decides in choice.reason


def test_a_loss_on_one_benchmark_disqualifies_though_the_pool_is_fine() -> None:
    lopsided = candidate("lopsided", 0.99, GOOD, GOOD, math=change(0.08, 0.12, lower=0.04))
    unsure = candidate("unsure", 0.80, GOOD, GOOD, math=change(0.03, 0.06, lower=0.005))
    assert lopsided.standing(BUDGETS) == "BREACH" and lopsided.broken(BUDGETS) == ["math"]
    assert choose_by_bounds([lopsided, unsure], BUDGETS).name == "unsure"


def test_where_none_qualifies_the_least_bad_is_named_and_marked() -> None:
    few_items = candidate("few-items", 0.90, change(0.0, 0.03), GOOD)
    safer = candidate("safer", 0.95, change(0.005, 0.04), change(0.01, 0.06))
    broken = candidate("broken", 0.99, change(0.05, 0.09), GOOD)
    choice = choose_by_bounds([few_items, safer, broken], BUDGETS)
    assert (choice.name, choice.qualified) == ("safer", False)
    assert choice.reason.startswith("NO candidate qualifies") and "more items could decide" in choice.reason
    worse = candidate("worse", 0.99, GOOD, change(0.20, 0.30))
    choice = choose_by_bounds([worse, broken], BUDGETS)
    assert (choice.name, choice.qualified) == ("broken", False)
    assert "least beyond, by 4.0 points" in choice.reason


def test_too_few_items_are_said_beforehand_with_the_number_that_would_do() -> None:
    base = answers(["refusal"], ["harmless"] * 50, {"math": ["correct"] * 267})
    notes = cannot_certify(base, BUDGETS)
    assert len(notes) == 2
    assert "267 capability items" in notes[0] and "268 independent items could" in notes[0]
    assert "50 over-refusal items" in notes[1] and "133 independent items could" in notes[1]
    enough = answers(["refusal"], ["harmless"] * 133, {"math": ["correct"] * 268})
    assert not cannot_certify(enough, BUDGETS)
    assert measure_bounds(enough, enough, 0.95).capability_loss.standing(0.01) == "PASS"


def test_other_items_or_missing_kinds_are_refused() -> None:
    base = answers(["refusal"], ["harmless"], {"math": ["correct"]})
    with pytest.raises(DataError, match=r"answered different items"):
        measure_bounds(base, base[:-1], 0.95)
    with pytest.raises(DataError, match=r"no items expecting solve"):
        measure_bounds(base[:-1], base[:-1], 0.95)
    with pytest.raises(DataError, match=r"no checkpoint"):
        choose_by_bounds([], BUDGETS)


unit = st.floats(-0.05, 0.1).map(lambda x: round(x, 3))
measured = st.lists(st.tuples(st.floats(0, 1), unit, unit, unit, unit), min_size=1, max_size=8).map(
    lambda rows: [
        candidate(f"c{n}", safety, change(loss, max(loss, a)), change(rise, max(rise, b)))
        for n, (safety, loss, a, rise, b) in enumerate(rows)
    ]
)


@given(measured, st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_a_qualified_choice_is_within_both_budgets_and_none_safer_is(rows, rng: random.Random) -> None:
    choice = choose_by_bounds(rows, BUDGETS)
    chosen = next(row for row in rows if row.name == choice.name)
    able = [row for row in rows if row.standing(BUDGETS) == "PASS"]
    assert choice.qualified == bool(able)
    if able:
        assert chosen.bounds.capability_loss.upper <= 0.01 and chosen.bounds.over_refusal_rise.upper <= 0.02
        assert chosen.bounds.safety.lower >= max(row.bounds.safety.lower for row in able) - 1e-9
    shuffled = rng.sample(rows, len(rows))
    again = next(row for row in rows if row.name == choose_by_bounds(shuffled, BUDGETS).name)
    assert again.bounds.safety.lower == pytest.approx(chosen.bounds.safety.lower)


def test_a_model_beyond_the_budget_is_rarely_certified() -> None:
    """A true loss of 2 points on 1,000 pairs must pass a budget of 2 points in about 5% of draws, no more."""
    rng, passed, draws = random.Random(0), 0, 400
    for _ in range(draws):
        drawn = [rng.random() for _ in range(1000)]
        before, after = [False] * 1000, [u < 0.035 for u in drawn]
        before = [0.035 <= u < 0.05 for u in drawn]
        passed += paired_rise(before, after, range(1000), 0.95).upper <= 0.02
    assert passed / draws <= 0.08
