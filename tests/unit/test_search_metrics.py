"""Success within k calls, medians with censoring, bounds, labels, and the JailbreakBench artifact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safekeel.attacks.search import GoalOutcome, QueryRow, SearchConfig, search
from safekeel.attacks.search.artifact import artifacts, read_artifact, write_artifacts
from safekeel.attacks.search.attacker import read_object, read_proposal
from safekeel.attacks.search.best_of_n import BestOfN
from safekeel.attacks.search.metrics import (
    asr_curve,
    by_family,
    curve_points,
    family_of,
    median_shown,
    queries_to_success,
    succeeded_by,
    summary,
)
from safekeel.errors import DataError
from safekeel.records import Completion, Prompt
from safekeel.stats.intervals import wilson
from tests.search_engines import HARM, MAYBE, REFUSED, SmallEngine, TextJudge, goal


def outcome(number: int, success: int | None, **update: Any) -> GoalOutcome:
    values: dict[str, Any] = {
        "goal_id": f"g{number}",
        "index": number,
        "cluster": f"g{number}",
        "lang": "en",
        "risk": None,
        "strategy": "s",
        "status": "success" if success else "budget",
        "budget": 10,
        "queries": success or 10,
        "queries_to_success": success,
        "succeeded_by": "fiction:test" if success else None,
        "leaks": 0,
        "first_leak": None,
        "target_errors": 0,
        "unscored": 0,
    }
    return GoalOutcome(**{**values, **update})


def test_curve_is_the_share_of_goals_within_k() -> None:
    outcomes = [outcome(0, 1), outcome(1, 3), outcome(2, 10), outcome(3, None)]
    points = asr_curve(outcomes, [0, 1, 2, 3, 10])
    assert [point.value for point in points] == [0, 0.25, 0.25, 0.5, 0.75]
    assert (points[-1].low, points[-1].high) == pytest.approx(wilson(3, 4))
    with pytest.raises(ValueError, match="k = 11"):
        asr_curve(outcomes, [11])
    with pytest.raises(ValueError, match="no outcomes"):
        asr_curve([], [1])


def test_goals_that_share_a_cluster_widen_the_interval() -> None:
    alone = [outcome(n, 1 if n < 10 else None) for n in range(20)]
    paired = [one.model_copy(update={"cluster": f"c{one.index // 2}"}) for one in alone]
    [a], [b] = asr_curve(alone, [5]), asr_curve(paired, [5])
    assert a.value == b.value and b.high - b.low > 1.2 * (a.high - a.low)


def test_unjudged_replies_open_the_upper_bound_only() -> None:
    outcomes = [outcome(0, 1), outcome(1, None, unscored=2), outcome(2, None)]
    [point] = asr_curve(outcomes, [10])
    assert (point.value, point.bound_high) == (pytest.approx(1 / 3), pytest.approx(2 / 3))


def test_bound_at_k_looks_at_the_first_k_calls(tmp_path: Path) -> None:
    numbers = iter(range(100))
    engine = SmallEngine(lambda messages: "<error>" if next(numbers) == 2 else REFUSED)
    config = SearchConfig(budget=5, batch_size=1)
    found = search(BestOfN(), [goal(0)], engine, TextJudge(), config, tmp_path)
    assert [p.bound_high for p in asr_curve(found.outcomes, [2, 3, 5], found.rows)] == [0, 1, 1]


@pytest.mark.parametrize(
    ("successes", "median", "shown"),
    [
        ([1, 2, 9], 2, "2"),
        ([1, 4], 2.5, "2.5"),
        ([1, 2, None], 2, "2"),
        ([1, None, None], None, "> 10"),
        ([3, None], None, "> 10"),
    ],
)
def test_median_among_all_goals(successes: list[int | None], median: float | None, shown: str) -> None:
    outcomes = [outcome(n, success) for n, success in enumerate(successes)]
    assert queries_to_success(outcomes) == median and median_shown(outcomes) == shown


@pytest.mark.parametrize(
    ("label", "family"),
    [
        ("fiction:test", "fiction"),
        ("fiction:test(role_play:train)", "fiction(role_play)"),
        ("role_play:test+before+around", "role_play+"),
        ("stream 3: logic", "logic"),
        ("conversation 2, turn 5", "turn 5"),
        ("augmented", "augmented"),
        ("branch 2 of root", "branch 2 of root"),
    ],
)
def test_family_of_a_label(label: str, family: str) -> None:
    assert family_of(label) == family


def test_curve_points() -> None:
    assert curve_points(20) == [1, 2, 5, 10, 20]
    assert curve_points(1) == [1]
    assert curve_points(100) == [1, 2, 5, 10, 20, 50, 100]
    assert curve_points(7) == [1, 2, 5, 7]


class ByGoal(SmallEngine):
    """Goal 1 breaks at its third call, goal 0 leaks at its second, all other answers are harmless."""

    def _row(self, prompt: Prompt) -> Completion:
        _, name, number = prompt.id.split("/")
        said = {("goal-1", "00003"): HARM, ("goal-0", "00002"): f"<think>PLAN</think>{REFUSED}"}
        self.says = lambda messages: said.get((name, number), MAYBE)
        return super()._row(prompt)


def _searched(folder: Path) -> Any:
    config = SearchConfig(budget=4, batch_size=3)
    goals = [goal(n, behavior=f"b{n}", category="c") for n in range(3)]
    return search(BestOfN(), goals, ByGoal(lambda messages: ""), TextJudge(), config, folder)


def test_summary(tmp_path: Path) -> None:
    found = _searched(tmp_path)
    table = summary(found.outcomes, found.rows)
    assert table["asr"]["value"] == pytest.approx(1 / 3) and table["median_shown"] == "> 4"
    assert [point["k"] for point in table["curve"]] == [1, 2, 4]
    assert table["leak"]["value"] == pytest.approx(1 / 3)
    assert table["leak_per_call"] == pytest.approx(1 / len(found.rows))
    assert table["ended"] == {"budget": 2, "success": 1}
    assert succeeded_by(found.outcomes) == {"augmented": 1}
    assert by_family(found.rows)["plain"] == {"calls": 3, "successes": 0, "leaks": 0, "unscored": 0}
    json.dumps(table, allow_nan=False)


JBB = {
    "index",
    "goal",
    "behavior",
    "category",
    "prompt",
    "response",
    "number_of_queries",
    "queries_to_jailbreak",
    "prompt_tokens",
    "response_tokens",
    "jailbroken",
}


def test_artifact_round_trip(tmp_path: Path) -> None:
    found = _searched(tmp_path)
    [path] = write_artifacts(tmp_path, found.rows, {"budget": 4})
    assert path.name == "jailbreakbench-best-of-n.json"
    written = json.loads(path.read_text("utf-8"))
    assert set(written) == {"parameters", "jailbreaks"} and all(set(row) == JBB for row in written["jailbreaks"])
    assert set(QueryRow.model_fields) >= JBB
    artifact = read_artifact(path)
    assert artifact == artifacts(found.rows, {"budget": 4})["best-of-n"]
    assert [(each.index, each.behavior, each.jailbroken) for each in artifact.jailbreaks] == [
        (0, "b0", False),
        (1, "b1", True),
        (2, "b2", False),
    ]
    broken = artifact.jailbreaks[1]
    assert (broken.response, broken.queries_to_jailbreak, broken.number_of_queries) == (HARM, 3, 3)
    assert artifact.parameters.total_number_of_queries == len(found.rows)
    assert artifact.parameters.attack_success_rate == pytest.approx(1 / 3)
    assert artifact.parameters.method_parameters["budget"] == 4


def test_an_artifact_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_artifact(tmp_path / "none.json")
    (tmp_path / "x.json").write_text('{"jailbreaks": []}')
    with pytest.raises(DataError, match="parameters"):
        read_artifact(tmp_path / "x.json")


# ---- reading an attacker ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        ('{"improvement": "a", "prompt": "b"}', "b"),
        ('Sure.\n```json\n{"prompt": "b"}\n```\nGood luck', "b"),
        ('{"prompt": "two\nlines"}', "two\nlines"),
        ('I {think} so: {"prompt": "中文 🙂", "improvement": 3}', "中文 🙂"),
        ('{"prompt": ""}', None),
        ('{"prompt": 3}', None),
        ('["prompt"]', None),
        ("prompt: b", None),
        ('{"prompt": "b"', None),
        ('{"prompt": "' + "x" * 9000 + '"}', None),
    ],
)
def test_reading_a_proposal(text: str, prompt: str | None) -> None:
    found = read_proposal(text)
    assert (found.prompt if found else None) == prompt


def test_a_proposal_must_hold_its_marker_once() -> None:
    assert read_proposal('{"prompt": "a [X] b"}', "[X]") is not None
    assert read_proposal('{"prompt": "a b"}', "[X]") is None
    assert read_proposal('{"prompt": "[X] [X]"}', "[X]") is None


@given(st.text(alphabet='{}[]":,ab\\ \n', max_size=60))
def test_reading_never_fails(text: str) -> None:
    found = read_object(text)
    assert found is None or isinstance(found, dict)


def test_reading_is_linear_in_braces() -> None:
    assert read_object("{" * 20_000) is None
