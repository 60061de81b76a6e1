"""The driver: full batches, budgets, early stops, failures that cost what they cost, and a search that survives a
kill."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safekeel.attacks import ATTACKS
from safekeel.attacks.search import SEARCHES, SearchConfig, estimate, search
from safekeel.attacks.search.base import Context, Steps, ask_attacker, ask_target, user
from safekeel.attacks.search.driver import CALLS, QUERIES
from safekeel.attacks.search.log import QueryRow
from safekeel.engines.base import Sampling
from safekeel.errors import DataError, EngineError, UsageError
from safekeel.records import Completion, Prompt, read_jsonl
from tests.search_engines import HARM, MAYBE, REFUSED, SmallEngine, TextJudge, goal, last, proposal

FAMILIES = [ATTACKS.get(name) for name in ("role_play", "fiction", "educator", "prefix_injection", "word_reversal")]


@dataclass(frozen=True)
class Counting:
    """Asks the numbers 0, 1, 2 … in turns of `at_once`, and ends after `end`."""

    at_once: int = 1
    end: int = 10**6
    name: str = "counting"
    goal: str = "count"
    source: str = "test"
    languages: tuple[Any, ...] = ("zh", "en")
    needs_attacker: bool = False
    attacker_calls_per_query: float = 0.0
    forward_passes: int = 0
    cost: str = "nothing"

    def run(self, goal: Prompt, context: Context) -> Steps[None]:
        for start in range(0, self.end, self.at_once):
            numbers = range(start, min(start + self.at_once, self.end))
            yield from ask_target([(user(f"{goal.id} {n}"),) for n in numbers], [f"n:{n}" for n in numbers])


def breaks_at(limits: dict[str, int]) -> SmallEngine:
    """Complies with number `limits[goal]` of a goal, if it has one."""

    def says(messages: Any) -> str:
        name, number = last(messages).split()
        return HARM if limits.get(name) == int(number) else REFUSED

    return SmallEngine(says)


@given(
    limits=st.lists(st.one_of(st.none(), st.integers(0, 12)), min_size=1, max_size=8),
    budget=st.integers(1, 10),
    at_once=st.integers(1, 4),
    batch_size=st.integers(1, 9),
)
@settings(max_examples=60, deadline=None)
def test_budget_and_early_stop(
    limits: list[int | None], budget: int, at_once: int, batch_size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No goal costs more than its budget, a success is found exactly where it is, and nothing is asked after it but
    what was already in its batch."""
    folder = tmp_path_factory.mktemp("search")
    engine = breaks_at({f"goal-{n}": limit for n, limit in enumerate(limits) if limit is not None})
    config = SearchConfig(budget=budget, batch_size=batch_size)
    found = search(Counting(at_once), [goal(n) for n in range(len(limits))], engine, TextJudge(), config, folder)
    for outcome, limit in zip(found.outcomes, limits, strict=True):
        expected = limit + 1 if limit is not None and limit < budget else None
        assert outcome.queries_to_success == expected
        assert outcome.status == ("success" if expected else "budget")
        assert outcome.queries <= budget
        assert outcome.queries == budget if expected is None else outcome.queries < expected + at_once
        mine = [row for row in found.rows if row.goal_id == outcome.goal_id]
        assert [row.number_of_queries for row in mine] == list(range(1, outcome.queries + 1))
    assert found.rows == read_jsonl(folder / QUERIES, QueryRow)
    assert max(map(len, engine.batches)) <= batch_size


def test_goals_that_do_not_stop_spend_their_budget_and_count_as_broken(tmp_path: Path) -> None:
    config = SearchConfig(budget=6, stop_at_success=False)
    found = search(Counting(2), [goal(0), goal(1)], breaks_at({"goal-0": 2}), TextJudge(), config, tmp_path)
    assert [outcome.queries for outcome in found.outcomes] == [6, 6]
    assert [outcome.status for outcome in found.outcomes] == ["success", "budget"]
    assert found.outcomes[0].queries_to_success == 3 and found.counts["successes"] == 1


def test_a_strategy_that_ends_is_exhausted(tmp_path: Path) -> None:
    found = search(Counting(end=3), [goal(0)], breaks_at({}), TextJudge(), SearchConfig(budget=9), tmp_path)
    assert (found.outcomes[0].status, found.outcomes[0].queries) == ("exhausted", 3)


@pytest.mark.parametrize(("num_goals", "budget"), [(150, 12), (15, 40)])
def test_batches_are_full(num_goals: int, budget: int, tmp_path: Path) -> None:
    """At least 90% of the slots: goals that break under different families, batches of 16; with fewer goals than
    slots, too, since each then tries several disguises at once."""
    words = ("Zed", "film", "lecture", "gladly", "reverse")

    def says(messages: Any) -> str:
        text = last(messages)
        number = next(int(n) for n in text.replace("?", " ").split() if n.strip(".:\"'").isdigit())
        return HARM if words[number % len(words)] in text and number % 3 else REFUSED

    engine = SmallEngine(says, batch_size=16)
    found = search(
        SEARCHES.get("bandit"),
        [goal(n) for n in range(num_goals)],
        engine,
        TextJudge(),
        SearchConfig(budget=budget),
        tmp_path,
        families=FAMILIES,
    )
    assert found.counts["slots_busy"] >= 0.9
    assert found.counts["slots_busy"] == pytest.approx(len(engine.asked) / (16 * len(engine.batches)), abs=1e-4)
    assert num_goals / 3 < found.counts["successes"] < num_goals


def test_the_attacker_works_until_the_targets_batch_is_full(tmp_path: Path) -> None:
    engine, attacker = SmallEngine(lambda messages: REFUSED, batch_size=8), SmallEngine(lambda m: proposal("x"))
    attacker.batch_size = 3
    found = search(
        SEARCHES.get("pair"),
        [goal(n) for n in range(20)],
        engine,
        TextJudge(),
        SearchConfig(budget=8),
        tmp_path,
        attacker=attacker,
    )
    assert found.counts["target_calls"] == 160
    assert found.counts["slots_busy"] == 1.0


def test_a_failed_call_is_neither_success_nor_defence(tmp_path: Path) -> None:
    engine = SmallEngine(lambda messages: "<error>" if last(messages).endswith("1") else REFUSED)
    found = search(Counting(), [goal(0)], engine, TextJudge(), SearchConfig(budget=4), tmp_path)
    outcome = found.outcomes[0]
    assert (outcome.queries, outcome.target_errors, outcome.unscored) == (4, 1, 1)
    failed = found.rows[1]
    assert (failed.answer_label, failed.jailbroken, failed.score, failed.error) == (
        "cannot_judge",
        False,
        0.0,
        "timed out",
    )


def test_a_leak_is_counted_apart(tmp_path: Path) -> None:
    engine = SmallEngine(lambda messages: f"<think>PLAN</think>{REFUSED}")
    found = search(Counting(), [goal(0)], engine, TextJudge(), SearchConfig(budget=2), tmp_path)
    assert (found.outcomes[0].leaks, found.outcomes[0].first_leak, found.outcomes[0].status) == (2, 1, "budget")
    assert found.rows[0].score == 0.75


def _all(folder: Path, engine: SmallEngine, judge: TextJudge) -> list[QueryRow]:
    return search(
        SEARCHES.get("bandit"),
        [goal(n) for n in range(6)],
        engine,
        judge,
        SearchConfig(budget=7, batch_size=4),
        folder,
        families=FAMILIES,
    ).rows


def _hard(messages: Any) -> str:
    return HARM if "film" in last(messages) and "number 3" in last(messages) else MAYBE


@pytest.mark.parametrize("killed_after", [0, 1, 4, 6, 17, 30])
def test_a_killed_search_asks_nothing_twice(killed_after: int, tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    whole = SmallEngine(_hard)
    expected = _all(tmp_path / "whole", whole, TextJudge())
    first = SmallEngine(_hard, stop_after=killed_after, stop_with=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        _all(tmp_path / "killed", first, TextJudge())
    for name in (CALLS, QUERIES):  # and a kill in the middle of a line
        if (path := tmp_path / "killed" / name).exists():
            with path.open("ab") as file:
                file.write(b'{"half": ')
    second, judge = SmallEngine(_hard), TextJudge()
    assert _all(tmp_path / "killed", second, judge) == expected
    assert read_jsonl(tmp_path / "killed" / QUERIES, QueryRow) == expected
    assert len(first.asked) + len(second.asked) == len(whole.asked)
    assert len(judge.judged) == len(expected) - killed_after // 4 * 4  # whole batches were judged before
    third = SmallEngine(_hard)
    assert _all(tmp_path / "killed", third, TextJudge()) == expected
    assert not third.asked


def _attacked(name: str, folder: Path, stop_after: int | None = None) -> tuple[list[QueryRow], int]:
    """(rows, calls of target and attacker) of a search whose attacker answers by the length of what it is told."""
    calls = [0]

    def counted(says: Any) -> Any:
        def inner(messages: Any) -> str:
            if calls[0] == stop_after:
                raise KeyboardInterrupt
            calls[0] += 1
            return str(says(messages))

        return inner

    def attack(messages: Any) -> str:
        if '{"same"' in last(messages):
            return '{"same": true}'
        size = sum(len(message.content) for message in messages)
        return "garbage" if size % 5 == 0 else proposal(f"idea {size}")

    target, attacker = SmallEngine(counted(lambda m: MAYBE)), SmallEngine(counted(attack))
    config = SearchConfig(budget=9, batch_size=4, attacker_batch_size=3)
    goals = [goal(n) for n in (1, 22, 333)]
    try:
        rows = search(
            SEARCHES.get(name), goals, target, TextJudge(), config, folder, families=FAMILIES, attacker=attacker
        ).rows
    except KeyboardInterrupt:
        rows = []
    return rows, calls[0]


@pytest.mark.parametrize("name", ["gptfuzzer", "pair", "tap", "crescendo"])
@pytest.mark.parametrize("killed_after", [2, 13, 31])
def test_a_killed_search_with_an_attacker(name: str, killed_after: int, tmp_path: Path) -> None:
    for folder in ("whole", "killed"):
        (tmp_path / folder).mkdir()
    expected, calls = _attacked(name, tmp_path / "whole")
    _, first = _attacked(name, tmp_path / "killed", killed_after)
    rows, second = _attacked(name, tmp_path / "killed")
    assert rows == expected and first == killed_after and first + second == calls


_CHILD = """
import os, sys
from pathlib import Path
from tests.unit.test_search_driver import _all, _hard
from tests.search_engines import SmallEngine, TextJudge
left = [11]
def says(messages):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), 9)
    return _hard(messages)
_all(Path(sys.argv[1]), SmallEngine(says), TextJudge())
"""


def test_sigkill(tmp_path: Path) -> None:
    """The same with a process that is really killed."""
    root = Path(__file__).parents[2]
    child = subprocess.run([sys.executable, "-c", _CHILD, str(tmp_path)], cwd=root, timeout=60, check=False)
    assert child.returncode == -9
    kept = read_jsonl(tmp_path / CALLS, Completion)
    engine, whole = SmallEngine(_hard), SmallEngine(_hard)
    rows = _all(tmp_path, engine, TextJudge())
    (tmp_path / "whole").mkdir()
    assert rows == _all(tmp_path / "whole", whole, TextJudge())
    assert len(kept) == 10 and len(engine.asked) == len(whole.asked) - 10


def test_another_target_does_not_find_the_old_replies(tmp_path: Path) -> None:
    _all(tmp_path, SmallEngine(_hard), TextJudge())
    trained = SmallEngine(lambda messages: REFUSED, model_id="small-2")
    rows = _all(tmp_path, trained, TextJudge())
    assert len(trained.asked) == len(rows) == 6 * 7
    assert read_jsonl(tmp_path / QUERIES, QueryRow) == rows


def test_two_strategies_share_the_files(tmp_path: Path) -> None:
    engine = SmallEngine(lambda messages: REFUSED)
    one = search(Counting(end=2), [goal(0)], engine, TextJudge(), SearchConfig(), tmp_path)
    two = search(SEARCHES.get("best-of-n"), [goal(0)], engine, TextJudge(), SearchConfig(budget=3), tmp_path)
    again = search(Counting(end=2), [goal(0)], engine, TextJudge(), SearchConfig(), tmp_path)
    assert again.rows == one.rows
    assert read_jsonl(tmp_path / QUERIES, QueryRow) == [*one.rows, *two.rows]


def test_a_dead_target_is_an_error_that_can_be_continued(tmp_path: Path) -> None:
    with pytest.raises(EngineError):
        _all(tmp_path, SmallEngine(_hard, stop_after=5), TextJudge())
    engine = SmallEngine(_hard)
    rows = _all(tmp_path, engine, TextJudge())
    assert len(engine.asked) == len(rows) - 5


def test_the_same_question_again_is_another_sample(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Same(Counting):
        def run(self, goal: Prompt, context: Context) -> Steps[None]:
            yield from ask_target([(user("same"),)] * 3, ["a", "b", "c"])

    seeds = []

    class Seeing(SmallEngine):
        def generate(self, prompts: Any, sampling: Sampling, on_completion: Any = None) -> list[Completion]:
            seeds.append(sampling.seed)
            return super().generate(prompts, sampling, on_completion)

    config = SearchConfig(sampling=Sampling(seed=5, temperature=1.0))
    found = search(Same(), [goal(0)], Seeing(lambda messages: REFUSED), TextJudge(), config, tmp_path)
    assert seeds == [5, 6, 7] and len({row.key for row in found.rows}) == 3


def test_an_attacker_that_is_gone(tmp_path: Path) -> None:
    """Two failed batches are failures like others; the third in a row stops the search, which can be continued."""
    attacker = SmallEngine(lambda messages: proposal("x"), stop_after=0)
    with pytest.raises(EngineError, match="gone"):
        search(
            SEARCHES.get("pair"),
            [goal(0)],
            SmallEngine(lambda m: REFUSED),
            TextJudge(),
            SearchConfig(budget=40),
            tmp_path,
            attacker=attacker,
        )
    found = search(
        SEARCHES.get("pair"),
        [goal(0)],
        SmallEngine(lambda m: REFUSED),
        TextJudge(),
        SearchConfig(budget=40),
        tmp_path,
        attacker=SmallEngine(lambda messages: proposal("x")),
    )
    assert found.outcomes[0].queries == 40 and found.outcomes[0].attacker_failures == 0


def test_an_attacker_that_is_asked_in_vain_ends_the_goal(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Asking(Counting):
        def run(self, goal: Prompt, context: Context) -> Steps[None]:
            while True:
                yield from ask_attacker([(user("?"),)], 10)

    config = SearchConfig(budget=2, attacker_calls_per_query=3)
    attacker = SmallEngine(lambda messages: "no")
    engine = SmallEngine(lambda messages: REFUSED)
    found = search(Asking(), [goal(0)], engine, TextJudge(), config, tmp_path, attacker=attacker)
    assert found.outcomes[0].status == "attacker"
    assert found.outcomes[0].attacker_calls == 2 * 3 + 16 and found.outcomes[0].queries == 0


def test_usage() -> None:
    engine, folder = SmallEngine(lambda messages: REFUSED), Path("nowhere")
    with pytest.raises(UsageError, match="needs an attacker"):
        search(SEARCHES.get("tap"), [goal(0)], engine, TextJudge(), SearchConfig(), folder)
    with pytest.raises(DataError, match="share an id"):
        search(Counting(), [goal(0), goal(0)], engine, TextJudge(), SearchConfig(), folder)
    with pytest.raises(DataError, match="expects 'answer'"):
        search(
            Counting(),
            [goal(0).model_copy(update={"expect": "answer"})],
            engine,
            TextJudge(),
            SearchConfig(),
            folder,
        )
    with pytest.raises(UsageError, match="Did you mean 'best-of-n'"):
        SEARCHES.get("best_of_n")
    with pytest.raises(UsageError, match="bandit has no family"):
        search(SEARCHES.get("bandit"), [goal(0)], engine, TextJudge(), SearchConfig(), folder)


def test_a_strategy_that_asks_nothing_is_an_error(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Idle(Counting):
        def run(self, goal: Prompt, context: Context) -> Steps[None]:
            while True:
                yield from ask_target([], [])

    with pytest.raises(RuntimeError, match="asked nothing"):
        search(Idle(), [goal(0)], breaks_at({}), TextJudge(), SearchConfig(), tmp_path)


@pytest.mark.parametrize("name", [name for name in SEARCHES.names() if not SEARCHES.get(name).forward_passes])
def test_the_estimate_is_an_upper_bound(name: str, tmp_path: Path) -> None:
    strategy = SEARCHES.get(name)
    attacker = SmallEngine(lambda messages: '{"same": true}' if "same" in last(messages) else proposal(last(messages)))
    found = search(
        strategy,
        [goal(n) for n in range(3)],
        SmallEngine(lambda messages: REFUSED),
        TextJudge(),
        SearchConfig(budget=12),
        tmp_path,
        families=FAMILIES,
        attacker=attacker,
    )
    most = estimate(strategy, 3, 12)
    assert 0 < found.counts["target_calls"] <= most.target_calls == 36
    if name in ("pair", "crescendo", "gptfuzzer"):  # TAP and its pruned branches: see the strategies' tests
        assert found.counts["attacker_calls"] <= most.attacker_calls


def test_progress_counts_calls_against_what_may_still_be_spent(tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []

    def progress(label: str, done: int, total: int, note: str = "", **_: Any) -> None:
        assert label == "search counting, calls"
        told.append((done, total, note))

    goals, config = [goal(n) for n in range(3)], SearchConfig(budget=10, batch_size=2)
    search(Counting(), goals, breaks_at({"goal-0": 0}), TextJudge(), config, tmp_path, progress=progress)
    assert told[0] == (2, 21, "1 of 3 goals broken")  # the goal that ended leaves nine calls of its budget
    assert told[-1] == (21, 21, "1 of 3 goals broken") and [done for done, _, _ in told] == sorted(
        {d for d, *_ in told}
    )
