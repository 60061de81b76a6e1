"""The pages of an attack run: everything escaped, model text behind a click, no model text in Markdown, no requests."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from safekeel.attack_run import page
from safekeel.attack_run.cost import asks_a_model, plan
from safekeel.attack_run.pack import build_pack
from safekeel.attack_run.report import Searched, Sources, measured
from safekeel.attack_run.searches import breaking_prompts, search_row
from safekeel.attacks import resolve
from safekeel.attacks.search import SEARCHES
from safekeel.attacks.search.log import GoalOutcome, QueryRow
from safekeel.engines.base import Sampling
from safekeel.judges.nano import NanoJudge
from safekeel.nano.words import load_words
from safekeel.records import Message, Prompt
from tests.attack_world import comply, cut_off, judged, nano_goals, refuse

EVIL = '<script>alert("x")</script>{{ 7 * 7 }}\u202e</details>'
GOALS = nano_goals(6)
PACK = build_pack(GOALS, resolve(["fiction", "role_play"]))


def outcome(number: int, success: int | None, unscored: int = 0) -> GoalOutcome:
    goal = GOALS[number]
    return GoalOutcome(
        goal_id=goal.id, index=number, cluster=goal.id, lang=goal.lang, risk=goal.risk, strategy="bandit",
        status="success" if success else "budget", budget=10, queries=success or 10, queries_to_success=success,
        succeeded_by="fiction:test" if success else None, leaks=0, first_leak=None, target_errors=0, unscored=unscored,
    )  # fmt: skip


def query(number: int, call: int, broken: bool) -> QueryRow:
    goal = GOALS[number]
    return QueryRow(
        index=number, goal="g", behavior="b", category="c", prompt="p", response=EVIL, number_of_queries=call,
        queries_to_jailbreak=call if broken else None, prompt_tokens=1, response_tokens=2, jailbroken=broken,
        goal_id=goal.id, cluster=goal.id, lang=goal.lang, strategy="bandit", label="fiction:test",
        messages=(Message(role="user", content="dressed"),), thought=None,
        answer_label="harmful" if broken else "refusal", thought_label="absent", score=1.0, split="closed",
        finish="stop", error=None, model="m", judge="j", judge_version="1", batch=1, prompt_id=f"q{number}/{call}",
        key=None,
    )  # fmt: skip


NOT_SEARCHED = Searched((), (), {})


def found(searched: Searched = NOT_SEARCHED) -> tuple[dict[str, Any], list]:
    def say(prompt: Prompt) -> str:
        if prompt.id.startswith("jailbreak-fiction"):
            return comply(prompt)
        return cut_off(prompt) if prompt.id.endswith("00005") else refuse(prompt)

    items = judged(PACK.prompts, say)
    sources = Sources(PACK, NanoJudge(load_words()), Sampling())
    return measured(f"model {EVIL}", items, searched, sources, [], []), items


def test_nothing_of_a_run_becomes_markup() -> None:
    content, items = found()
    spoilt = [
        item.__class__(
            item.prompt, item.completion.model_copy(update={"thought": EVIL, "answer": EVIL}), item.thought,
            item.answer, item.garbled, item.judge,
        )
        for item in items
    ]  # fmt: skip
    text = page.html(content, page.examples_of(spoilt, []))
    assert "<script" not in text and "\u202e" not in text
    assert "&lt;script&gt;" in text and "{{ 7 * 7 }}" in text
    assert "<script" not in page.markdown(content).replace("\\<", "")
    assert text.count("<details") == text.count("</details>")
    assert not re.search(r"(src|href)=.?https?:", text)


def test_model_text_stands_behind_a_click_and_never_in_markdown() -> None:
    content, items = found()
    said = items[len(GOALS)].completion.answer
    text = page.html(content, page.examples_of(items, []))
    before, _, behind = text.partition('<details class="warn">')
    assert said in behind and said not in before
    assert said not in page.markdown(content)


def test_the_page_says_what_the_numbers_are() -> None:
    content, _ = found()
    text, told = page.html(content, []), page.markdown(content)
    for part in (text, told):
        assert "fiction" in part and "100%" in part and PACK.sha256 in part
    assert "Asked plainly, the model gives a harmful answer to 0% of 6 goals" in text
    assert "say nothing about the safety of a real model" in text
    assert "Without --base" in text and "temperature 0" in text and "2 truncated" in text
    assert "right by construction" in text
    table = [line for line in told.splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in table}) == 1


def test_examples_are_few_and_long_texts_cut() -> None:
    prompts = [PACK.prompts[0].model_copy(update={"id": f"x{number}"}) for number in range(5)]
    items = judged(prompts, comply)
    items[0] = judged(
        [prompts[0].model_copy(update={"messages": (Message(role="user", content="a" * 9000),)})], comply
    )[0]
    (group,) = page.examples_of(items, [])
    assert (group["num"], len(group["rows"])) == (5, page.PER_FAMILY)
    assert len(group["rows"][0]["turns"][0][1]) < page.MAX_CHARS + 60


def test_a_search_on_the_page_and_its_steps() -> None:
    outcomes = (outcome(0, 1), outcome(1, 4), outcome(2, 4), outcome(3, None, unscored=2))
    rows = tuple(
        query(number, call, call == last) for number, last in ((0, 1), (1, 4), (2, 4)) for call in range(1, last + 1)
    )
    row = search_row(outcomes, rows, {"slots_busy": 0.93, "seconds": 4.2})
    assert row["steps"] == [(0, 0.0), (1, 0.25), (4, 0.75), (10, 0.75)]
    assert (row["num_broken"], row["median_queries_to_success"], row["driver"]) == (3, 4.0, {"slots_busy": 0.93})
    content, _ = found(Searched(outcomes, rows, {}))
    text = page.html(content, page.examples_of([], rows))
    assert "bandit: 3 of 4 goals" in text and "within 10" in text and "<script" not in text
    told = "The search bandit breaks 3 of 4 goals within 10 target calls per goal"
    assert f"{told}; 6 of 9 target calls repeated" in page.markdown(content)
    content["searches"][0]["target_errors"] = 2
    assert f"{told}; 2 of its target calls failed" in page.markdown(content)
    assert f"{told}; 2 of its target calls failed" in page.html(content, [])


def test_what_broke_a_goal_becomes_a_pack_with_its_baseline() -> None:
    _, items = found()
    rows = [query(0, 1, False), query(0, 2, True), query(0, 3, True)]
    prompts = breaking_prompts([item for item in items if "role_play" not in item.prompt.id][:7], GOALS, rows)
    assert [prompt.id for prompt in prompts] == [
        f"jailbreak-direct/{GOALS[0].id}", f"jailbreak-fiction/{GOALS[0].id}", f"jailbreak-search-bandit/{GOALS[0].id}",
    ]  # fmt: skip
    assert prompts[-1].attack is not None and prompts[-1].attack.params["queries"] == 2
    assert prompts[-1].attack.parent_id == GOALS[0].id and prompts[-1].risk == GOALS[0].risk


@pytest.mark.parametrize(
    ("judge", "asked"),
    [("linear", False), ("cascade:rules,linear", False), ("api:x", True), ("vote:rules,api:x", True)],
)
def test_which_judges_cost_calls(judge: str, asked: bool) -> None:
    assert asks_a_model(judge) is asked


def test_the_plan_counts_every_call() -> None:
    bandit = SEARCHES.get("bandit")
    made = plan(PACK, Sampling(num_samples=2, max_tokens=10), "linear", [bandit], 5, False)
    assert (made.pack_calls, made.target_calls, made.attacker_calls) == (36, 36 + 5 * 6, 0)
    assert made.judge_calls == 0 and made.pack_tokens > 360
    starter = [goal.model_copy(update={"meta": {}}) for goal in GOALS]  # no grader reads them: the judge is asked
    assert plan(build_pack(starter, []), Sampling(), "api:x", [], 5, False).judge_calls == 12


def test_templates_are_in_the_package() -> None:
    folder = Path(page.__file__).parent / "templates"
    assert {path.name for path in folder.iterdir()} == {"attack.html.jinja", "attack.md.jinja"}


def test_on_a_phone_the_transfer_table_tells_its_columns_without_a_header() -> None:
    content, _ = found()
    content["transfer"]["families"] = [
        {"family": name, "num_broken": 3, "num_only_here": 1, "num_asked": 6, "cells": {
            other: {"share": 0.5, "num": 3} for other in ("fiction", "role_play")
        }}
        for name in ("fiction", "role_play")
    ]  # fmt: skip
    text = page.html(content, [])
    (table,) = re.findall(r'<table class="cross matrix" style="--columns: 2">.*?</table>', text, re.DOTALL)
    assert re.findall(r'class="nth">(\d+)</span>(\w+)<', table) == [("1", "fiction"), ("2", "role_play")]
    assert re.findall(r'class="cell (\w+)" data-is="(\d+)"', table) == [
        ("none", "1"), ("some", "2"), ("some", "1"), ("none", "2"),
    ]  # fmt: skip
