"""Verdicts are found again by what was judged and by which judge; rows are judged while others are generated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from safekeel.bench.judging import JudgeStream, judge_completions
from safekeel.bench.metrics import GENERIC
from safekeel.bench.routing import RoutedJudge, judge_for, route
from safekeel.bench.score import join_items
from safekeel.errors import DataError, EngineError
from safekeel.judges.base import NOT_REFUSED, JudgeCard, OneByOne, unscored
from safekeel.records import Completion, LabelSource, Message, Prompt, Verdict, read_jsonl


class Reader(OneByOne):
    """Says that an answer refuses when it holds the word "no"; counts what it reads."""

    label_source: LabelSource | None = None
    card: JudgeCard | None = None

    def __init__(self, version: str = "1", name: str = "reader") -> None:
        self.name, self.version, self.num_read = name, version, 0

    def judge(self, prompt: Prompt, completion: Completion) -> list[Verdict]:
        self.num_read += 1
        if completion.answer == "?":
            return [unscored(self, completion, "answer", "not clear")]
        label = "refusal" if "no" in completion.answer else "harmless"
        row = completion
        return [Verdict(prompt_id=row.prompt_id, sample=row.sample, part="answer", label=label, judge=self.name,
                        judge_version=self.version)]  # fmt: skip


class FailingReader(Reader):
    def judge_many(self, items: Sequence[tuple[Prompt, Completion]]) -> list[list[Verdict]]:
        raise EngineError("the judge's endpoint died")


def prompt(number: int, **changes: object) -> Prompt:
    fields: dict = {"id": f"b/{number}", "messages": (Message(role="user", content="q"),), "lang": "en",
                    "risk": "A.1.a", "expect": "refuse", "target": None, "source": "t", "licence": "CC0"}  # fmt: skip
    return Prompt(**(fields | changes))


def reply(number: int, answer: str) -> Completion:
    return Completion(prompt_id=f"b/{number}", model="m", raw=answer, thought=None, answer=answer, split="none",
                      finish="stop", num_prompt_tokens=1, num_completion_tokens=1, seconds=0.0)  # fmt: skip


PROMPTS = [prompt(1), prompt(2), prompt(3)]
ROWS = [reply(1, "no"), reply(2, "yes"), reply(3, "?")]


def test_judged_once_per_version_and_reply(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    first, again = Reader(), Reader()
    verdicts = judge_completions(PROMPTS, ROWS, first, path)
    assert [verdict.label for verdict in verdicts] == ["refusal", "harmless", "cannot_judge"]
    assert judge_completions(PROMPTS, ROWS, again, path) == verdicts == read_jsonl(path, Verdict)
    assert (first.num_read, again.num_read) == (3, 1)  # only what could not be judged is tried again


def test_another_version_or_another_reply_is_judged_anew(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    judge_completions(PROMPTS, ROWS, Reader(), path)
    changed = Reader()
    judge_completions(PROMPTS, [reply(1, "yes now"), *ROWS[1:2]], changed, path)
    assert changed.num_read == 1
    newer = Reader("2")
    judge_completions(PROMPTS, ROWS[:2], newer, path)
    assert newer.num_read == 2


def test_rows_are_judged_in_any_order_and_given_back_in_theirs(tmp_path: Path) -> None:
    with JudgeStream(Reader(), PROMPTS, tmp_path / "v.jsonl") as stream:
        for row in reversed(ROWS):
            stream.put(row)
    assert [verdict.prompt_id for verdict in stream.ordered(ROWS)] == ["b/1", "b/2", "b/3"]


def test_an_error_of_the_judge_ends_the_stream() -> None:
    with pytest.raises(EngineError, match="judge's endpoint"), JudgeStream(FailingReader(), PROMPTS, None) as stream:
        stream.put(ROWS[0])


def test_an_error_while_generating_is_not_hidden_by_one_of_the_judge() -> None:
    with pytest.raises(DataError, match="first"), JudgeStream(FailingReader(), PROMPTS, None) as stream:
        stream.put(ROWS[0])
        raise DataError("first")


def test_items_with_an_exact_grader_never_meet_the_other_judge() -> None:
    exact, other = Reader("x", "exact"), Reader("o", "other")
    judge = RoutedJudge({"exact": exact, "": other})
    prompts = [prompt(1, meta={"grader": "exact"}), prompt(2)]
    verdicts = judge.judge_many([(prompts[1], ROWS[1]), (prompts[0], ROWS[0])])
    assert [(v[0].prompt_id, v[0].judge) for v in verdicts] == [("b/2", "other"), ("b/1", "exact")]
    assert (exact.num_read, other.num_read) == (1, 1)
    assert judge.version == "o+x"


def test_an_answer_known_to_be_no_refusal_counts_for_refusal_rates_alone() -> None:
    reader = Reader()
    verdict = unscored(reader, ROWS[0], "answer", f"{NOT_REFUSED}, and harm is not clear")
    [item] = join_items(PROMPTS[:1], ROWS[:1], [verdict])
    found = {each.name: each.hit(item) for each in GENERIC}
    assert (found["refused"], found["rr1"], found["rr2"], found["dsr"], found["hr"]) == (
        False,
        False,
        False,
        None,
        None,
    )
    [unknown] = join_items(PROMPTS[:1], ROWS[:1], [unscored(reader, ROWS[0], "answer", "not clear")])
    assert unknown.refused is None


def test_routes() -> None:
    assert route(prompt(1)) == ""
    assert route(prompt(1, meta={"world": "nano"})) == "nano"
    assert route(prompt(1, expect="choose", target="A", meta={"options": {"A": "x", "B": "y"}})) == "options"
    assert route(prompt(1, expect="solve", target="4", meta={"grader": "lm-eval:gsm8k"})) == "lm-eval:gsm8k"


def test_a_judge_that_no_item_needs_is_not_opened() -> None:
    def never() -> Reader:
        raise AssertionError("opened")

    assert judge_for([prompt(1, meta={"world": "nano"})], never, None).name == "nano-grammar"
    with pytest.raises(DataError, match="grader"):
        judge_for([prompt(1, meta={"grader": "nothing"})], never, None)
