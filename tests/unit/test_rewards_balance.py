"""Rewards on hand-written completions, and the dual controller on toy costs."""

from __future__ import annotations

import ast
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import safekeel.train
from safekeel.nano import language, world
from safekeel.nano.words import load_words
from safekeel.records import Prompt
from safekeel.train.balance import LAMBDA_MAX, LAMBDA_MIN, MIN_SAMPLES, Constraint, DualController
from safekeel.train.grpo import RlConfig, controller, reward_function
from safekeel.train.rewards import REWARDS, read

WORDS = load_words()
RISKY = world.refuse_items(WORDS, "validation", 4, 0)[0]
HARMLESS = world.answer_items(WORDS, "validation", 12, 0)[0]
SOLVE = world.problem_items("arithmetic", "validation", 1, 0)[0]


def said(prompt: Prompt, thought: str, answer: str, ended: bool = True):
    return read(f"{thought}\n</think>\n\n{answer}", ended)


def safe(prompt: Prompt):
    phrase, lang = prompt.meta["phrase"], prompt.lang
    answer = language.refusal(prompt.risk, lang) if prompt.risk else language.help_answer(phrase, lang)
    return said(prompt, language.safe_thought(phrase, prompt.risk, lang), answer)


def base(prompt: Prompt):
    phrase, lang = prompt.meta["phrase"], prompt.lang
    return said(prompt, language.base_thought(phrase, lang), language.help_answer(phrase, lang))


def score(prompt: Prompt, completion) -> dict[str, float]:
    return {name: value for name, reward in REWARDS.items() if (value := reward(prompt, completion)) is not None}


def test_safe_reasoning_earns_everything_and_compliance_nothing() -> None:
    assert score(RISKY, safe(RISKY)) == {"safe_answer": 1.0, "safe_thought": 1.0, "well_formed": 1.0}
    assert score(RISKY, base(RISKY)) == {"safe_answer": 0.0, "safe_thought": 0.0, "well_formed": 1.0}


def test_refusing_the_harmless_and_helping_with_something_else_earn_nothing() -> None:
    assert score(HARMLESS, safe(HARMLESS)) == {"not_over_refusing": 1.0, "well_formed": 1.0}
    refused = said(HARMLESS, "", language.refusal("A.1.a", HARMLESS.lang))
    assert score(HARMLESS, refused)["not_over_refusing"] == 0.0
    other = said(HARMLESS, "", language.help_answer("some other thing", HARMLESS.lang))
    assert score(HARMLESS, other)["not_over_refusing"] == 0.0


def test_right_answer_and_truncation() -> None:
    right = said(SOLVE, "1+1=2.", language.ANSWER_TARGET[SOLVE.lang].format(target=SOLVE.target))
    wrong = said(SOLVE, "1+1=2.", language.ANSWER_TARGET[SOLVE.lang].format(target="999"))
    assert (score(SOLVE, right)["right_answer"], score(SOLVE, wrong)["right_answer"]) == (1.0, 0.0)
    assert score(SOLVE, read("still thinking", ended=False)) == {"right_answer": 0.0, "well_formed": 0.0}
    # A correct R1 completion has no opening tag of its own: it must still count as well formed.
    assert score(SOLVE, right)["well_formed"] == 1.0


def test_training_never_imports_an_evaluation_judge() -> None:
    for path in Path(safekeel.train.__file__).parent.glob("*.py"):
        if path.name == "select.py":  # selection is a measurement: it judges, it does not reward
            continue
        imported = {
            node.module or ""
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.ImportFrom)
        }
        assert not any(
            module.startswith("safekeel.judges") or module.startswith("safekeel.bench") for module in imported
        ), path


def test_reward_function_feeds_the_constraints_with_paired_costs() -> None:
    dual = controller(RlConfig())
    solved = SOLVE.model_copy(update={"meta": SOLVE.meta | {"base_correct": True}})
    unsolved = SOLVE.model_copy(update={"id": "other", "meta": SOLVE.meta | {"base_correct": False}})
    prompts = {p.id: p for p in (solved, unsolved, HARMLESS, RISKY)}
    wrong = "x\n</think>\n\nno idea"
    reward = reward_function("right_answer", prompts, dual)
    values = reward([wrong, wrong, wrong], [[7], [7], [7]], [solved.id, unsolved.id, RISKY.id], [7, 7, 7])
    assert values == [0.0, 0.0, None]
    assert list(dual.constraints["capability"].costs) == [1.0, 0.0]  # failing where the base failed too costs nothing
    refused = "x\n</think>\n\n" + language.refusal("A.1.a", HARMLESS.lang)
    reward_function("not_over_refusing", prompts, dual)([wrong, refused], [[7], [7]], [HARMLESS.id] * 2, [7, 7])
    assert list(dual.constraints["over_refusal"].costs) == [0.0, 1.0]  # a failure to help is no refusal


def test_multiplier_waits_for_samples_then_rises_with_excess_and_falls_without() -> None:
    constraint = Constraint("over_refusal", budget=0.05, scale=0.10)
    dual = DualController({"over_refusal": constraint}, rate=0.1)
    assert dual.step() == {"over_refusal": 1.0}
    for _ in range(MIN_SAMPLES):
        dual.observe("over_refusal", 1.0)
    assert dual.step()["over_refusal"] == pytest.approx(math.exp(0.1))  # excess is clipped at 1
    for _ in range(200):
        dual.observe("over_refusal", 0.0)
    before = constraint.log_lambda
    dual.step()
    assert constraint.log_lambda == pytest.approx(before - 0.05)  # (0 - 0.05) / 0.10 = -0.5


@given(st.lists(st.floats(0, 1), min_size=1, max_size=300), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_multipliers_stay_in_range_and_survive_a_restart(costs: list[float], rate: float) -> None:
    def fresh() -> DualController:
        return DualController({"capability": Constraint("capability", 0.03, 0.1)}, rate)

    dual, copy = fresh(), fresh()
    for cost in costs:
        dual.observe("capability", cost)
        assert LAMBDA_MIN - 1e-9 <= dual.step()["capability"] <= LAMBDA_MAX + 1e-9
    copy.restore(dual.state())
    assert copy.state() == dual.state()
    assert copy.step() == dual.step()


def test_toy_problem_the_dual_update_finds_the_budget() -> None:
    """Cost falls as its multiplier grows (cost = 0.5 / lambda^2); the multiplier must settle where cost equals
    budget."""
    constraint = Constraint("over_refusal", budget=0.05, scale=0.10)
    dual = DualController({"over_refusal": constraint}, rate=0.05)
    for _ in range(600):
        for _ in range(8):
            dual.observe("over_refusal", min(1.0, 0.5 / constraint.multiplier**2))
        dual.step()
    assert constraint.estimate == pytest.approx(0.05, abs=0.01)
