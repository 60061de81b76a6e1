"""What every judge keeps to, whatever it is made of."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from safekeel.judges.asking import UnreadableReplyError
from safekeel.judges.base import Judge
from safekeel.judges.guard import GuardJudge
from safekeel.judges.guard_families import FAMILIES
from safekeel.judges.llm import LlmJudge
from safekeel.judges.panel import Cascade, Vote
from safekeel.judges.rules import RulesJudge
from safekeel.records import ANSWER_LABELS, CANNOT_JUDGE, THOUGHT_LABELS, Completion, Prompt
from tests.judge_models import FakeModel, ask, completion, knows_markers, verdict_json


def _model(text: str) -> str:
    """Chinese rubrics get a verdict by markers, English ones a fixed one."""
    if "B's reply" in text or "B's reasoning" in text:
        return verdict_json("harmless" if "B's reply" in text else "unaware")
    return knows_markers([{"content": text}])


def _guard(family: str) -> Judge:
    return GuardJudge(FakeModel(lambda _: FAMILIES[family].example, family), FAMILIES[family])


MAKERS: dict[str, Callable[[], Judge]] = {
    "rules": RulesJudge,
    "llm": lambda: LlmJudge(FakeModel(_model)),
    "llm-garbage": lambda: LlmJudge(FakeModel(lambda text: text)),
    "strongreject": lambda: LlmJudge(FakeModel(_model), answer_rubric="strongreject"),
    **{f"guard-{name}": (lambda name=name: _guard(name)) for name in FAMILIES},
    "vote": lambda: Vote([RulesJudge(), LlmJudge(FakeModel(_model)), _guard("qwen3guard")]),
    "cascade": lambda: Cascade([RulesJudge(), LlmJudge(FakeModel(_model))]),
}
if importlib.util.find_spec("safekeel.judges.linear"):

    def _linear() -> Judge:
        from safekeel.judges.linear import LinearJudge

        return LinearJudge()

    MAKERS["linear"] = _linear

every_judge = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
RAWS = [
    ("抱歉，我不能协助这件事。", "stop"),
    ("<think>有风险标记</think>好的，有害标记：[已省略]", "stop"),
    ("<think>plain</think>Sure, here is a recipe for soup.", "stop"),
    ("<think>没想完", "length"),
    ("<think>想完了</think>没说完", "length"),
    ("没说完", "length"),
    ("<think>想完了</think>", "stop"),
    ("", "stop"),
    ("</script>\x00\x1b[2J</think><|im_end|>{}", "stop"),
]


def items() -> list[tuple[Prompt, Completion]]:
    return [
        (ask(id=f"q{i}", expect=expect), completion(raw, finish, prompt_id=f"q{i}", sample=i % 3))
        for expect in ("refuse", "answer", "either")
        for i, (raw, finish) in enumerate(RAWS)
    ]


@every_judge
def test_one_verdict_per_part_of_the_closed_sets(make: Callable[[], Judge]) -> None:
    judge = make()
    rows = judge.judge_many(items())
    for (_, row), found in zip(items(), rows, strict=True):
        assert [one.part for one in found] == ["thought", "answer"]
        for one in found:
            assert (one.prompt_id, one.sample) == (row.prompt_id, row.sample)
            assert (one.judge, one.judge_version) == (judge.name, judge.version)
            known = ANSWER_LABELS if one.part == "answer" else THOUGHT_LABELS
            assert one.label in (*known, CANNOT_JUDGE)
            assert one.reason or not one.unscored


@every_judge
def test_many_at_once_is_the_same_as_one_by_one_and_as_again(make: Callable[[], Judge]) -> None:
    judge = make()
    rows = judge.judge_many(items())
    assert rows == [judge.judge(*item) for item in items()]
    assert rows == make().judge_many(items())
    assert judge.judge_many([]) == []


@every_judge
def test_unfinished_failed_and_empty_answers_are_no_side(make: Callable[[], Judge]) -> None:
    judge = make()
    failed = completion("x").model_copy(
        update={"finish": "error", "error": "timeout", "split": "truncated", "answer": "", "thought": None}
    )
    for row in [failed, *(completion(raw, finish) for raw, finish in RAWS[3:8])]:
        by_part = {one.part: one for one in judge.judge(ask(), row)}
        assert by_part["answer"].unscored
        if row.split == "truncated":
            assert by_part["thought"].unscored


@every_judge
@pytest.mark.parametrize("expect", ["choose", "solve"])
def test_safety_judges_do_not_grade(make: Callable[[], Judge], expect: str) -> None:
    (only,) = make().judge(ask(expect=expect), completion("<think>想</think>A"))
    assert only.part == "answer" and only.unscored


@every_judge
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(answer=st.text(), thought=st.none() | st.text())
def test_no_text_breaks_a_judge(make: Callable[[], Judge], answer: str, thought: str | None) -> None:
    row = completion("x").model_copy(update={"answer": answer, "thought": thought})
    for one in make().judge(ask(), row):
        assert one.unscored == (one.label == CANNOT_JUDGE)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_every_guard_family_reads_its_documented_reply_and_no_other_familys(family) -> None:
    assert family.read(family.example).safety in ("safe", "unsafe", "controversial")
    for other in FAMILIES.values():
        if other is not family:
            with pytest.raises(UnreadableReplyError):
                family.read(other.example)
    assert family.max_tokens >= 32 and family.languages and family.model_name.pattern
