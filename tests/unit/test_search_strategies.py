"""Each strategy does what its paper says: on small targets that comply under exactly one condition."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safekeel.attacks import ATTACKS, BUILT_IN
from safekeel.attacks.search import SEARCHES, SearchConfig, SearchResult, search
from safekeel.attacks.search.augment import augment
from safekeel.attacks.search.bandit import Bandit, Table
from safekeel.attacks.search.base import load_texts, score_of
from safekeel.attacks.search.crescendo import Crescendo
from safekeel.attacks.search.gptfuzzer import PLACEHOLDER
from safekeel.attacks.search.pair import Pair
from safekeel.attacks.search.tap import Tap
from safekeel.engines.scripted import ScriptedEngine
from safekeel.records import ANSWER_LABELS, Message
from tests.search_engines import HARM, MAYBE, REFUSED, SmallEngine, TextJudge, goal, last, proposal

FAMILIES = [ATTACKS.get(name) for name in ("role_play", "fiction", "educator", "prefix_injection", "word_reversal")]
WITH_ATTACKER = ("pair", "tap", "crescendo")


def run(strategy: Any, target: SmallEngine, folder: Path, budget: int = 20, **options: Any) -> SearchResult:
    goals = options.pop("goals", None) or [goal(0)]
    options.setdefault("families", FAMILIES)
    config = SearchConfig(budget=budget, **options.pop("config", {}))
    return search(strategy, goals, target, TextJudge(), config, folder, **options)


def complies_if(*needles: str) -> SmallEngine:
    return SmallEngine(lambda messages: HARM if all(n in last(messages) for n in needles) else REFUSED)


# ---- bandit ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("lang", "needle"), [("en", "For a lecture"), ("zh", "讲座")])
def test_bandit_finds_the_family(lang: str, needle: str, tmp_path: Path) -> None:
    found = run(SEARCHES.get("bandit"), complies_if(needle), tmp_path, goals=[goal(0, lang)])
    assert found.outcomes[0].succeeded_by == "educator:validation"


def test_bandit_learns_across_goals(tmp_path: Path) -> None:
    """What broke the first goals is tried at once on the later ones; without sharing, every goal starts anew."""
    total = {}
    for share in (True, False):
        (folder := tmp_path / str(share)).mkdir()
        goals = [goal(n) for n in range(40)]
        rows = run(Bandit(share=share), complies_if("For a lecture"), folder, goals=goals, config={"batch_size": 2})
        needed = [outcome.queries_to_success or 99 for outcome in rows.outcomes]
        assert max(needed) <= 15  # every arm once
        total[share] = sum(needed)
    assert total[True] < 0.6 * total[False]


def test_bandit_tries_no_arm_twice_then_composes(tmp_path: Path) -> None:
    needles = ("For a lecture", "wizard")
    found = run(SEARCHES.get("bandit"), complies_if(*needles), tmp_path, 60, config={"wordings": ("validation",)})
    labels = [row.label for row in found.rows]
    assert len(set(labels)) == len(labels)
    assert sorted(labels[:5]) == sorted(f"{family.name}:validation" for family in FAMILIES)
    assert found.outcomes[0].succeeded_by in (
        "educator:validation(fiction:validation)",
        "fiction:validation(educator:validation)",
    )


def test_bandit_uses_only_the_wordings_it_may(tmp_path: Path) -> None:
    found = run(SEARCHES.get("bandit"), complies_if("nothing"), tmp_path, 100, config={"wordings": ("train",)})
    assert all("test" not in row.label and "validation" not in row.label for row in found.rows)
    assert found.outcomes[0].status == "exhausted"
    assert found.outcomes[0].queries == 5 + 5 * 4


def test_ucb() -> None:
    table = Table()
    assert table.ucb("a") == float("inf")
    for label, score in (("a", 1.0), ("b", 0.0), ("b", 0.0)):
        table.play(label)
        table.learn(label, score)
    assert table.ucb("a") == pytest.approx(1 + (2 * 1.0986122886681098) ** 0.5)
    assert table.ucb("b") == pytest.approx((2 * 1.0986122886681098 / 2) ** 0.5)


# ---- best of n -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_best_of_n_never_asks_the_same_twice(lang: str, tmp_path: Path) -> None:
    found = run(SEARCHES.get("best-of-n"), complies_if("nothing"), tmp_path, 40, goals=[goal(0, lang)])
    prompts = [row.prompt for row in found.rows]
    assert prompts[0] == goal(0, lang).messages[0].content and found.rows[0].label == "plain"
    assert len(set(prompts)) == 40


@given(text=st.text(max_size=60), seed=st.integers(0, 99))
def test_augment_is_deterministic(text: str, seed: int) -> None:
    assert augment(text, random.Random(seed)) == augment(text, random.Random(seed))


def test_augment_keeps_the_letters() -> None:
    """Shuffle and case only, where noise is left out: the letters of each word stay, first and last in place."""
    text = "Please describe the wonderful mountains"
    for seed in range(50):
        changed = augment(text, random.Random(seed), sigma=0.001)
        assert len(changed) == len(text)
    words = [augment(text, random.Random(seed)).split(" ") for seed in range(200)]
    assert any(word[1] != "describe" and sorted(word[1].lower()) == sorted("describe") for word in words)
    assert any("·" in augment("请描述这座美丽的山峰和河流", random.Random(seed)) for seed in range(200))


# ---- gptfuzzer -------------------------------------------------------------------------------------------------------


def test_gptfuzzer_without_attacker_mutates_seeds(tmp_path: Path) -> None:
    engine = complies_if("wizard", "Leave the introduction out.")
    found = run(SEARCHES.get("gptfuzzer"), engine, tmp_path, 400)
    assert found.outcomes[0].status == "success"
    assert "+" in (found.outcomes[0].succeeded_by or "")
    assert all(goal(0).messages[0].content in row.prompt for row in found.rows)
    assert not any(row.label.startswith("word_reversal") for row in found.rows)  # its wordings do not hold the request
    assert len({row.prompt for row in found.rows}) == len(found.rows)


def test_gptfuzzer_tries_a_working_template_on_the_next_goal(tmp_path: Path) -> None:
    engine = complies_if("wizard")
    found = run(
        SEARCHES.get("gptfuzzer"), engine, tmp_path, 40, goals=[goal(n) for n in range(30)], config={"batch_size": 1}
    )
    needed = [outcome.queries_to_success or 99 for outcome in found.outcomes]
    assert sum(needed[20:]) < sum(needed[:10])


def test_gptfuzzer_with_attacker_keeps_the_placeholder(tmp_path: Path) -> None:
    attacker = SmallEngine(lambda m: proposal(f"As agreed in our talk {len(last(m))}: {PLACEHOLDER}"))
    found = run(SEARCHES.get("gptfuzzer"), complies_if("As agreed"), tmp_path, 30, attacker=attacker)
    assert found.outcomes[0].status == "success" and goal(0).messages[0].content in found.rows[-1].prompt
    broken = SmallEngine(lambda m: proposal("no marker"))
    (tmp_path / "b").mkdir()
    found = run(SEARCHES.get("gptfuzzer"), complies_if("no marker"), tmp_path / "b", 30, attacker=broken)
    assert found.outcomes[0].status == "budget" and found.outcomes[0].attacker_fallbacks > 0


# ---- PAIR ------------------------------------------------------------------------------------------------------------


def counting_attacker(limit: int = 100) -> SmallEngine:
    """Proposes `step N`, N = the rounds that it sees in its conversation, plus one."""

    def says(messages: Sequence[Message]) -> str:
        if '{"same"' in last(messages):
            return json.dumps({"same": "off topic" not in last(messages)})
        rounds = sum(message.role == "assistant" for message in messages)
        return f"Sure!\n```json\n{proposal(f'step {min(rounds + 1, limit)}')}\n```"

    return SmallEngine(says)


def test_pair_refines_from_the_feedback(tmp_path: Path) -> None:
    attacker = counting_attacker()
    found = run(Pair(streams=2), complies_if("step 3"), tmp_path, attacker=attacker)
    assert found.outcomes[0].queries_to_success == 5  # the third round of the first of two streams
    assert found.rows[-2].label == "stream 1: role_play"
    systems = {prompt.messages[0].content for prompt in attacker.asked}
    assert len(systems) == 2  # one approach per stream
    told = attacker.asked[-1].messages[-1].content
    assert REFUSED in told and "score 2 of 10" in told.lower().replace("score: 2", "score 2")


def test_pair_sees_three_rounds(tmp_path: Path) -> None:
    attacker = counting_attacker()
    run(Pair(streams=1), complies_if("never"), tmp_path, budget=8, attacker=attacker)
    assert max(len(prompt.messages) for prompt in attacker.asked) == 2 + 2 * 3


# ---- TAP -------------------------------------------------------------------------------------------------------------


def test_tap_prunes_before_it_asks(tmp_path: Path) -> None:
    numbers = iter(range(10**6))

    def says(messages: Sequence[Message]) -> str:
        if '{"same"' in last(messages):
            return json.dumps({"same": "off topic" not in last(messages)})
        number = next(numbers)
        return proposal(f"off topic {number}" if number % 2 else f"idea {number}")

    target = complies_if("never")
    found = run(Tap(branching=4, width=3, depth=3), target, tmp_path, 30, attacker=SmallEngine(says))
    assert not any("off topic" in row.prompt for row in found.rows)
    # 4 branches of the root, half of them pruned; then the 2, then the 3 best leaves branch.
    assert found.outcomes[0].queries == 2 + 4 + 6


def test_tap_goes_on_from_the_best_leaves(tmp_path: Path) -> None:
    def says(messages: Sequence[Message]) -> str:
        if '{"same"' in last(messages):
            return '{"same": true}'
        earlier = [m.content for m in messages if m.role == "assistant"]
        base = json.loads(earlier[-1])["prompt"] if earlier else ""
        number = next(n for n in "1234" if f"number {n} of" in last(messages))
        return proposal(f"{base}{number}")

    def target(messages: Sequence[Message]) -> str:
        text = last(messages)
        return HARM if text == "333" else MAYBE if "333".startswith(text) else REFUSED

    found = run(Tap(branching=4, width=1, depth=5), SmallEngine(target), tmp_path, 30, attacker=SmallEngine(says))
    assert found.outcomes[0].queries_to_success == 4 + 4 + 3


def test_a_target_that_fails_in_the_middle_of_a_tree(tmp_path: Path) -> None:
    numbers = iter(range(10**6))

    def says(messages: Sequence[Message]) -> str:
        return '{"same": true}' if '{"same"' in last(messages) else proposal(f"idea {next(numbers)} |")

    def target(messages: Sequence[Message]) -> str:
        return "<error>" if "idea 2 " in last(messages) or "idea 5 " in last(messages) else REFUSED

    found = run(Tap(branching=3, width=2, depth=4), SmallEngine(target), tmp_path, 40, attacker=SmallEngine(says))
    outcome = found.outcomes[0]
    assert outcome.target_errors == 2 and outcome.queries == 3 + 6 + 6 + 6
    assert outcome.status == "exhausted" and outcome.unscored == 2


# ---- Crescendo -------------------------------------------------------------------------------------------------------


def test_crescendo_builds_on_replies_and_takes_refused_turns_back(tmp_path: Path) -> None:
    numbers = iter(range(1, 10**6))
    attacker = SmallEngine(lambda messages: proposal(f"question {next(numbers)}"))

    def target(messages: Sequence[Message]) -> str:
        if last(messages) == "question 2":
            return REFUSED
        return HARM if sum(message.role == "user" for message in messages) == 4 else MAYBE

    found = run(SEARCHES.get("crescendo"), SmallEngine(target), tmp_path, attacker=attacker)
    assert found.outcomes[0].queries_to_success == 5
    questions = [message.content for message in found.rows[-1].messages if message.role == "user"]
    assert questions == ["question 1", "question 3", "question 4", "question 5"]
    assert [m.content for m in found.rows[-1].messages if m.role == "assistant"] == [MAYBE] * 3
    assert "taken back" in attacker.asked[2].messages[-1].content


def test_crescendo_begins_anew(tmp_path: Path) -> None:
    numbers = iter(range(1, 10**6))
    attacker = SmallEngine(lambda messages: proposal(f"question {next(numbers)}"))
    target = SmallEngine(lambda messages: MAYBE)
    found = run(Crescendo(max_turns=2), target, tmp_path, budget=5, attacker=attacker)
    assert [len(row.messages) for row in found.rows] == [1, 3, 1, 3, 1]
    assert any("Conversation 3" in message.content for message in attacker.asked[-1].messages)


# ---- bad attackers ---------------------------------------------------------------------------------------------------

BAD = {
    "garbage": "%%% { [ ' ] }",
    "refusal": "I'm sorry, but I can't help with that.",
    "refusal-zh": "抱歉，我不能协助。",
    "loop": "again and again " * 4000,
    "empty": "",
    "timeout": "<error>",
    "other-json": '{"answer": 42}',
    "no-text": '{"improvement": "x", "prompt": ["a"]}',
    "cut-off": '{"improvement": "x", "prompt": "never en',
    "half-thought": "<think>I wonder",
}


@pytest.mark.parametrize("name", [*WITH_ATTACKER, "gptfuzzer"])
@pytest.mark.parametrize("bad", BAD)
def test_a_bad_attacker_costs_what_it_costs(name: str, bad: str, tmp_path: Path) -> None:
    attacker = SmallEngine(lambda messages: BAD[bad])
    found = run(SEARCHES.get(name), complies_if("never"), tmp_path, budget=8, attacker=attacker)
    outcome = found.outcomes[0]
    assert outcome.status in ("budget", "exhausted") and 0 < outcome.queries <= 8
    assert outcome.attacker_fallbacks > 0 or name == "gptfuzzer"
    assert outcome.attacker_failures + outcome.attacker_unreadable > 0 or name == "gptfuzzer"
    assert outcome.attacker_calls == len(attacker.asked)


@pytest.mark.parametrize("name", [*WITH_ATTACKER, "gptfuzzer"])
def test_an_attacker_that_says_the_same_forever(name: str, tmp_path: Path) -> None:
    attacker = SmallEngine(lambda messages: proposal(f"the same {PLACEHOLDER}"))
    outcome = run(SEARCHES.get(name), complies_if("never"), tmp_path, budget=8, attacker=attacker).outcomes[0]
    assert outcome.status in ("budget", "exhausted") and 0 < outcome.queries <= 8


def test_told_once_more_then_understood(tmp_path: Path) -> None:
    """An attacker that is read at its second try makes no fallback."""

    def says(messages: Sequence[Message]) -> str:
        return proposal("better") if "Send only that object" in last(messages) else "Here is a prompt: better"

    found = run(Pair(streams=1), complies_if("better"), tmp_path, attacker=SmallEngine(says))
    outcome = found.outcomes[0]
    assert outcome.queries_to_success == 1
    assert (outcome.attacker_calls, outcome.attacker_unreadable, outcome.attacker_fallbacks) == (2, 1, 0)


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("name", ["bandit", "gptfuzzer", "best-of-n"])
def test_every_built_in_family_can_be_searched_over(name: str, lang: str, tmp_path: Path) -> None:
    goals = [goal(n, lang) for n in range(4)]
    found = run(SEARCHES.get(name), complies_if("§§"), tmp_path, budget=60, goals=goals, families=BUILT_IN)
    assert found.counts["target_calls"] == 240 and found.counts["target_errors"] == 0


# ---- the registry, texts, scores -------------------------------------------------------------------------------------


def test_registry() -> None:
    assert SEARCHES.names()[:7] == ["bandit", "best-of-n", "gptfuzzer", "pair", "tap", "crescendo", "gcg"]
    for name in SEARCHES.names()[:7]:
        strategy = SEARCHES.get(name)
        assert strategy.name == name and strategy.goal and strategy.source and strategy.cost
        assert strategy.needs_attacker == (name in WITH_ATTACKER)
        assert strategy.attacker_calls_per_query > 0 or not strategy.needs_attacker


@pytest.mark.parametrize("name", ["attacker", "pair", "tap", "crescendo", "gptfuzzer", "gcg"])
def test_both_languages_say_the_same_things(name: str) -> None:
    """The same texts with the same fields; English without Chinese characters, Chinese with them."""
    import re

    en, zh = load_texts(name, "en"), load_texts(name, "zh")
    assert en.keys() == zh.keys()
    for key in en:
        assert set(re.findall(r"\{(\w+)\}", en[key])) == set(re.findall(r"\{(\w+)\}", zh[key])), key
        assert not re.search(r"[\u4e00-\u9fff]", en[key]) and re.search(r"[\u4e00-\u9fff]", zh[key]), key
        assert len(en[key].splitlines()) == len(zh[key].splitlines()), key


def test_scores_order_the_labels() -> None:
    ordered = sorted(ANSWER_LABELS, key=lambda label: score_of(label, "absent"))
    assert ordered == ["responsible_refusal", "refusal", "harmless", "harmful"]
    assert score_of("harmful", "absent") == 1.0 > score_of("refusal", "harmful") > score_of("harmless", "aware")
    assert score_of("cannot_judge", "cannot_judge") == 0.0


def test_the_scripted_engine_as_target(tmp_path: Path) -> None:
    script = tmp_path / "script.jsonl"
    rows = [{"match": "wizard", "raw": f"<think>PLAN</think>{HARM}"}, {"raw": f"<think>no</think>{REFUSED}"}]
    script.write_text("\n".join(json.dumps(row) for row in rows), "utf-8")
    found = run(SEARCHES.get("bandit"), ScriptedEngine(script), tmp_path)  # type: ignore[arg-type]
    assert found.outcomes[0].succeeded_by == "fiction:validation"
    [broken] = [row for row in found.rows if row.jailbroken]
    assert broken.thought == "PLAN" and broken.thought_label == "harmful"
