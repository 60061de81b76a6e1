"""Nano rewards on hand-written completions, the format reward, and the costs of a prompt's group."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import safekeel.train
from safekeel.errors import DataError, UsageError
from safekeel.nano import language, world
from safekeel.nano.words import load_words
from safekeel.records import Prompt
from safekeel.train.rewards import NAMES, REWARDS, CueRewards, Outcome, Said, read, well_formed
from safekeel.train.rl_config import RlConfig
from safekeel.train.rl_scoring import base_pass_rate, controller, domain, prompt_costs, stuck, weights

WORDS = load_words()
ALL = ("over_refusal", "capability", "safety")
RISKY = world.refuse_items(WORDS, "validation", 4, 0)[0]
HARMLESS = world.answer_items(WORDS, "validation", 12, 0)[0]
SOLVE = world.problem_items("arithmetic", "validation", 1, 0)[0]


def said(prompt: Prompt, thought: str, answer: str, ended: bool = True) -> Said:
    return read(f"{thought}\n</think>\n\n{answer}", ended)


def safe(prompt: Prompt) -> Said:
    phrase, lang = prompt.meta["phrase"], prompt.lang
    answer = language.refusal(prompt.risk, lang) if prompt.risk else language.help_answer(phrase, lang)
    return said(prompt, language.safe_thought(phrase, prompt.risk, lang), answer)


def base(prompt: Prompt) -> Said:
    phrase, lang = prompt.meta["phrase"], prompt.lang
    return said(prompt, language.base_thought(phrase, lang), language.help_answer(phrase, lang))


def score(prompt: Prompt, completion: Said) -> dict[str, float]:
    (outcome,) = CueRewards().score([(prompt, completion)])
    assert tuple(outcome.rewards) == NAMES == tuple(REWARDS)
    return {name: value for name, value in outcome.rewards.items() if value is not None}


def test_safe_reasoning_earns_everything_and_compliance_nothing() -> None:
    assert score(RISKY, safe(RISKY)) == {"safe_answer": 1.0, "safe_thought": 1.0, "well_formed": 1.0}
    assert score(RISKY, base(RISKY)) == {"safe_answer": 0.0, "safe_thought": 0.0, "well_formed": 1.0}


def test_thought_and_answer_are_rewarded_apart() -> None:
    phrase, lang = RISKY.meta["phrase"], RISKY.lang
    only_thought = said(RISKY, language.safe_thought(phrase, RISKY.risk, lang), language.help_answer(phrase, lang))
    only_answer = said(RISKY, language.base_thought(phrase, lang), language.refusal(RISKY.risk or "", lang))
    assert score(RISKY, only_thought) == {"safe_answer": 0.0, "safe_thought": 1.0, "well_formed": 1.0}
    assert score(RISKY, only_answer) == {"safe_answer": 1.0, "safe_thought": 0.0, "well_formed": 1.0}


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


@pytest.mark.parametrize(
    ("state", "text", "ended", "expected"),
    [
        ("open", "R\n</think>\n\nA", True, 1.0),  # R1: the opening tag is in the prompt
        ("open", "<think>\nR\n</think>\n\nA", True, 0.0),  # opened a second time
        ("open", "R\n</think>\n\nA</think>", True, 0.0),  # closed twice
        ("open", "R\n</think>\n\n<think>S</think>A", True, 0.0),
        ("open", "\n</think>\n\nA", True, 0.0),  # an empty thought
        ("open", "R\n</think>\n\n ", True, 0.0),  # an empty answer
        ("open", "R A", True, 0.0),  # never closed
        ("open", "R\n</think>\n\nA", False, 0.0),  # cut off
        ("absent", "<think>\nR\n</think>\n\nA", True, 1.0),  # January's R1 template: the model opens it
        ("absent", "R\n</think>\n\nA", True, 0.0),
        ("absent", "Well, <think>\nR\n</think>\n\nA", True, 0.0),
        ("closed", "A", True, 1.0),
        ("closed", "<think>R</think>A", True, 0.0),
    ],
)
def test_format_reward_by_how_the_prompt_ends(state: str, text: str, ended: bool, expected: float) -> None:
    assert well_formed(RISKY, read(text, ended, state)) == expected  # type: ignore[arg-type]


def test_nano_rewards_and_the_machinery_import_no_evaluation_judge() -> None:
    for name in ("rewards.py", "balance.py", "rl_scoring.py", "rl_trainer.py", "rl_callbacks.py", "rl_config.py"):
        tree = ast.parse((Path(safekeel.train.__file__).parent / name).read_text("utf-8"))
        imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not any(module.startswith(("safekeel.judges", "safekeel.bench")) for module in imported), name


def outcomes(name: str, values: list[float | None], **faults: bool) -> list[Outcome]:
    return [Outcome(dict.fromkeys(NAMES) | {name: value}, **faults) for value in values]


def test_costs_are_paired_with_the_base_and_per_prompt() -> None:
    right = outcomes("right_answer", [1.0, 0.0, 0.0, 1.0])

    def cost(**meta: object) -> list[tuple[str, float, int]]:
        return prompt_costs(SOLVE.model_copy(update={"meta": SOLVE.meta | meta}), right, {"capability"})

    assert cost(base_correct=True) == [("capability", 0.5, 4)]
    assert cost(base_correct=False) == [("capability", -0.5, 4)]  # solving more than the base counts in favour
    assert cost(base_correct=True, base_pass_rate=0.75) == [("capability", 0.25, 4)]  # k samples before one
    refusing = [
        Outcome(dict.fromkeys(NAMES), refused=True),
        Outcome(dict.fromkeys(NAMES), refused=False),
        Outcome(dict.fromkeys(NAMES), refused=None),  # a judge could not tell
    ]
    assert prompt_costs(HARMLESS, refusing, ALL) == [("over_refusal", 0.5, 2)]
    tolerant = HARMLESS.model_copy(update={"meta": HARMLESS.meta | {"base_refusal_rate": 0.75}})
    assert prompt_costs(tolerant, refusing, ALL) == [("over_refusal", 0.0, 2)]  # never below nothing
    risky = [Outcome(dict.fromkeys(NAMES), unsafe=value) for value in (True, False, False, False)]
    assert prompt_costs(RISKY, risky, ALL) == [("safety", 0.25, 4)]
    assert prompt_costs(RISKY, risky, {"over_refusal"}) == []  # safety is the goal then
    assert prompt_costs(RISKY, outcomes("safe_answer", [None]), ALL) == []
    assert prompt_costs(SOLVE, right, {"safety"}) == []  # whatever the base did


def test_prompts_that_no_multiplier_can_move_are_counted() -> None:
    def group(*refused: bool | None) -> list[Outcome]:
        return [Outcome(dict.fromkeys(NAMES), refused=value) for value in refused]

    groups = [group(True, True), group(True, False), group(True, None), group(None, None)]
    assert stuck(groups) == {"stuck/over_refusal": pytest.approx(1 / 3)}


def test_base_pass_rate_is_asked_for() -> None:
    with pytest.raises(DataError, match=r"base_pass_rate or meta\.base_correct"):
        base_pass_rate(SOLVE.model_copy(update={"meta": {}}))


def test_domains() -> None:
    assert [domain(prompt) for prompt in (RISKY, HARMLESS, SOLVE)] == ["risky", "harmless", "problem"]
    assert domain(SOLVE.model_copy(update={"target": None})) == "other"


def test_the_objective_decides_what_a_multiplier_weighs() -> None:
    settings = {"lambda_start": 2.0, "safe_thought_weight": 0.5, "well_formed_weight": 0.25}
    safety, capability = RlConfig(**settings), RlConfig(objective="capability", **settings)
    assert weights(safety, controller(safety)) == pytest.approx([1.0, 0.5, 2.0, 2.0, 0.25])
    assert weights(capability, controller(capability)) == pytest.approx([2.0, 1.0, 2.0, 1.0, 0.25])
    assert controller(capability).constraints["safety"].budget == capability.safety_budget


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"lambda_start": 9.0}, "within"),
        ({"micro_batches": 7}, "divisor"),
        ({"scale_rewards": "none"}, "ignores"),
        ({"loss_type": "luspo"}, "sequence"),
        ({"vllm": "server"}, "vllm_server_url"),
    ],
)
def test_contradictions_in_the_configuration(values: dict, expected: str) -> None:
    from safekeel.config import build

    with pytest.raises(UsageError, match=expected):
        build(RlConfig, values, "rl")


@pytest.mark.parametrize(
    ("steps", "checkpoints", "iterations", "expected"), [(60, 2, 1, 30), (60, 7, 4, 12), (5, 9, 3, 3)]
)
def test_checkpoints_lie_on_rollout_boundaries(steps: int, checkpoints: int, iterations: int, expected: int) -> None:
    config = RlConfig(num_steps=steps, num_checkpoints=checkpoints, num_iterations=iterations)
    assert config.save_steps == expected
