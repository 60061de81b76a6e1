"""Generated rows are found again by content: after a kill, for more items, elsewhere; never for another model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safekeel.bench.generate import COMPLETIONS, generate, unused_rows
from safekeel.engines.base import OnCompletion, Sampling, generation_key
from safekeel.engines.scripted import ScriptedEngine
from safekeel.errors import DataError, EngineError
from safekeel.records import Completion, Message, Prompt, read_jsonl

GREEDY = Sampling()


class CountingEngine(ScriptedEngine):
    """A scripted model that notes what it is asked, and can die after some rows."""

    def __init__(self, path: Path, weights: str = "w1", dies_after: int | None = None) -> None:
        super().__init__(path)
        self.model_id, self.dies_after, self.asked = weights, dies_after, 0

    def generate(
        self, prompts: list[Prompt], sampling: Sampling, on_completion: OnCompletion | None = None
    ) -> list[Completion]:
        def counted(row: Completion) -> None:
            if self.asked == self.dies_after:
                raise EngineError("the endpoint died")
            self.asked += 1
            if on_completion is not None:
                on_completion(row)

        return super().generate(prompts, sampling, counted)


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., Path]:
    def write(*rows: dict[str, Any]) -> Path:
        path = tmp_path / "script.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        return path

    return write


def prompts_of(*numbers: int) -> list[Prompt]:
    return [
        Prompt(id=f"b/{n}", messages=(Message(role="user", content=f"question {n}"),), lang="en", risk=None,
               expect="answer", target=None, source="test", licence="CC0")
        for n in numbers
    ]  # fmt: skip


def test_a_second_call_asks_nothing_and_gives_the_same_rows(script: Callable[..., Path], tmp_path: Path) -> None:
    engine = CountingEngine(script({"raw": "yes"}))
    first = generate(engine, prompts_of(1, 2, 3), GREEDY, tmp_path / COMPLETIONS)
    assert engine.asked == 3
    assert generate(engine, prompts_of(1, 2, 3), GREEDY, tmp_path / COMPLETIONS) == first
    assert engine.asked == 3


def test_more_items_and_more_samples_only_ask_for_what_is_new(script: Callable[..., Path], tmp_path: Path) -> None:
    engine = CountingEngine(script({"raw": "yes"}))
    generate(engine, prompts_of(1, 2), GREEDY, tmp_path / COMPLETIONS)
    rows = generate(engine, prompts_of(2, 3), GREEDY, tmp_path / COMPLETIONS)
    assert engine.asked == 3
    assert [row.prompt_id for row in rows] == ["b/2", "b/3"]
    generate(engine, prompts_of(2), Sampling(num_samples=3), tmp_path / COMPLETIONS)
    assert engine.asked >= 5  # samples 1 and 2 are new


def test_rows_without_use_are_kept_aside_and_found_again(script: Callable[..., Path], tmp_path: Path) -> None:
    engine, path = CountingEngine(script({"raw": "yes"})), tmp_path / COMPLETIONS
    generate(engine, prompts_of(*range(10)), GREEDY, path)
    generate(engine, prompts_of(4), GREEDY, path)
    assert [row.prompt_id for row in read_jsonl(path, Completion)] == ["b/4"]
    assert len(read_jsonl(unused_rows(path), Completion)) == 9
    generate(engine, prompts_of(*range(10)), GREEDY, path)
    assert engine.asked == 10


@pytest.mark.parametrize(
    "change",
    [
        {"weights": "w2"},
        {"sampling": Sampling(temperature=0.5)},
        {"sampling": Sampling(seed=7)},
        {"sampling": Sampling(max_tokens=5)},
        {"sampling": Sampling(think="none")},
    ],
)
def test_whatever_changes_the_text_is_generated_anew(
    script: Callable[..., Path], tmp_path: Path, change: dict[str, Any]
) -> None:
    path = tmp_path / COMPLETIONS
    generate(CountingEngine(script({"raw": "old"})), prompts_of(1), GREEDY, path)
    other = CountingEngine(script({"raw": "new"}), change.get("weights", "w1"))
    rows = generate(other, prompts_of(1), change.get("sampling", GREEDY), path)
    assert (other.asked, rows[0].raw) == (1, "new")


def test_an_engine_that_dies_leaves_its_rows_and_the_next_call_continues(
    script: Callable[..., Path], tmp_path: Path
) -> None:
    path = tmp_path / COMPLETIONS
    with pytest.raises(EngineError):
        generate(CountingEngine(script({"raw": "yes"}), dies_after=4), prompts_of(*range(10)), GREEDY, path)
    assert len(read_jsonl(path, Completion)) == 4
    second = CountingEngine(script({"raw": "yes"}))
    rows = generate(second, prompts_of(*range(10)), GREEDY, path)
    assert second.asked == 6
    assert [row.prompt_id for row in rows] == [f"b/{n}" for n in range(10)]
    assert len({row.prompt_id for row in read_jsonl(path, Completion)}) == len(read_jsonl(path, Completion)) == 10


def test_a_failed_row_is_asked_for_again(script: Callable[..., Path], tmp_path: Path) -> None:
    path = tmp_path / COMPLETIONS
    rows = generate(CountingEngine(script({"id": "b/1", "raw": "yes"})), prompts_of(1, 2), GREEDY, path)
    assert [row.finish for row in rows] == ["stop", "error"]
    rows = generate(CountingEngine(script({"raw": "yes"})), prompts_of(1, 2), GREEDY, path)
    assert [row.finish for row in rows] == ["stop", "stop"]
    assert [row.finish for row in read_jsonl(path, Completion)] == ["stop", "stop"]


def test_rows_of_another_folder_are_taken_by_key(script: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    generate(CountingEngine(script({"raw": "yes"})), prompts_of(1, 2), GREEDY, tmp_path / "a" / COMPLETIONS)
    engine = CountingEngine(script({"raw": "other"}))
    rows = generate(engine, prompts_of(2, 3), GREEDY, tmp_path / "b" / COMPLETIONS, reuse=[tmp_path / "a"])
    assert ([row.raw for row in rows], engine.asked) == (["yes", "other"], 1)


def test_half_a_row_left_by_a_kill_is_generated_again(script: Callable[..., Path], tmp_path: Path) -> None:
    path = tmp_path / COMPLETIONS
    generate(CountingEngine(script({"raw": "yes"})), prompts_of(1, 2), GREEDY, path)
    path.write_bytes(path.read_bytes()[:-20])
    engine = CountingEngine(script({"raw": "yes"}))
    assert len(generate(engine, prompts_of(1, 2), GREEDY, path)) == 2
    assert engine.asked == 1
    assert len(read_jsonl(path, Completion)) == 2


def test_every_row_is_handed_on_once_also_those_found_again(script: Callable[..., Path], tmp_path: Path) -> None:
    path, seen = tmp_path / COMPLETIONS, []
    generate(CountingEngine(script({"raw": "yes"})), prompts_of(1), GREEDY, path)
    generate(CountingEngine(script({"raw": "yes"})), prompts_of(1, 2), GREEDY, path, on_row=seen.append)
    assert sorted(row.prompt_id for row in seen) == ["b/1", "b/2"]


def test_two_prompts_with_one_id_are_an_error(script: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="share an id"):
        generate(CountingEngine(script({"raw": "yes"})), prompts_of(1, 1), GREEDY, tmp_path / COMPLETIONS)


@given(st.text(), st.text(), st.integers(0, 3), st.integers(0, 3))
def test_keys_differ_exactly_where_something_differs(left: str, right: str, a: int, b: int) -> None:
    same = (left, a) == (right, b)
    assert (generation_key("m", left, GREEDY, a) == generation_key("m", right, GREEDY, b)) is same
