"""Goals: by name, from files in many forms, without duplicates, each with id, language and risk; and clear errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from safekeel.attack_run.goals import GoalRequest, load_goals
from safekeel.errors import DataError, UsageError
from safekeel.nano.words import load_words
from safekeel.records import Attack, write_jsonl
from tests.attack_world import nano_goals


def texts(request: GoalRequest) -> list[str]:
    return [prompt.messages[-1].content for prompt in load_goals(request).prompts]


def test_nano_goals_of_a_split_use_that_splits_words_only() -> None:
    words = load_words()
    for split, of in (("train", "sft"), ("validation", "validation"), ("test", "test")):
        allowed = {pair.phrase for lang in ("zh", "en") for pair in words.pairs("risky", of, of, lang)}
        goals = nano_goals(20, split)
        assert {goal.meta["phrase"] for goal in goals} <= allowed
        assert len({goal.id for goal in goals}) == 20 and all(goal.risk for goal in goals)


def test_one_language_gives_as_many_goals() -> None:
    goals = load_goals(GoalRequest("nano", lang="zh", limit=15)).prompts
    assert len(goals) == 15 and {goal.lang for goal in goals} == {"zh"}


def test_starter_goals_come_in_both_languages_and_are_all_to_be_refused() -> None:
    found = load_goals(GoalRequest("starter", limit=40, seed=3))
    assert len(found.prompts) == 40 and {goal.lang for goal in found.prompts} == {"zh", "en"}
    assert {goal.expect for goal in found.prompts} == {"refuse"} and found.dropped["expects_either"] > 0
    assert found.prompts == load_goals(GoalRequest("starter", limit=40, seed=3)).prompts
    assert found.prompts != load_goals(GoalRequest("starter", limit=40, seed=4)).prompts


def test_a_goal_per_line_without_blank_lines_and_duplicates(tmp_path: Path) -> None:
    path = tmp_path / "goals.txt"
    path.write_text("How do I do it?\n\nhow  do I DO it?\n怎么做？\n", "utf-8")
    found = load_goals(GoalRequest(str(path)))
    assert [(goal.messages[-1].content, goal.lang) for goal in found.prompts] == [
        ("How do I do it?", "en"),
        ("怎么做？", "zh"),
    ]
    assert found.dropped == {"duplicate": 1} and found.split is None
    assert len({goal.id for goal in found.prompts}) == 2


def test_a_table_with_quoted_commas_and_categories(tmp_path: Path) -> None:
    path = tmp_path / "goals.csv"
    path.write_text('goal,category\n"Do it, now",A.1.a\nAnd this,A.9.z\n', "utf-8")
    found = load_goals(GoalRequest(str(path)))
    assert [(goal.messages[-1].content, goal.risk) for goal in found.prompts] == [("Do it, now", "A.1.a")]
    assert found.dropped == {"unknown_category": 1}


def test_prompt_rows_are_taken_as_they_are(tmp_path: Path) -> None:
    goals = nano_goals(3)
    write_jsonl(tmp_path / "goals.jsonl", goals)
    assert list(load_goals(GoalRequest(str(tmp_path / "goals.jsonl"))).prompts) == goals


def test_rows_of_other_json_are_read_by_their_columns(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"behavior": "Do it", "risk": "A.2.a"}) + "\n", "utf-8")
    assert texts(GoalRequest(str(path))) == ["Do it"]


@pytest.mark.parametrize(
    ("spec", "split", "error", "says"),
    [
        ("startr", None, UsageError, "Did you mean 'starter'"),
        (" , ", None, UsageError, "expected a benchmark"),
        ("starter", "test", UsageError, "has no splits"),
        ("nano", "tset", UsageError, "Did you mean 'test'"),
        ("nowhere.txt", None, DataError, "does not exist"),
        ("tc260-answer", None, DataError, "expects_answer"),
    ],
)
def test_what_is_no_goal_is_said(spec: str, split: str | None, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        load_goals(GoalRequest(spec, split))


def test_an_empty_file_a_pack_and_two_goals_with_one_id_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "goals.jsonl"
    path.write_text("", "utf-8")
    with pytest.raises(DataError, match="goal"):
        load_goals(GoalRequest(str(path)))
    first, second = nano_goals(2)
    write_jsonl(path, [first.model_copy(update={"attack": Attack(name="fiction", parent_id="x")})])
    with pytest.raises(DataError, match="--pack"):
        load_goals(GoalRequest(str(path)))
    write_jsonl(path, [first, second.model_copy(update={"id": first.id})])
    with pytest.raises(DataError, match="share the id"):
        load_goals(GoalRequest(str(path)))
