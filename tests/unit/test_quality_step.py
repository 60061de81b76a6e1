"""Step `quality` and its measures of repetition: each rule catches its case and leaves the neighbouring honest one."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safekeel.corpus.sample import Role, Sample
from safekeel.corpus.steps.base import Drop
from safekeel.corpus.steps.quality import QualityConfig, QualityStep
from safekeel.corpus.steps.repetition import loop_length, repeated_share, units_of
from safekeel.records import Expect, Lang, Message, Prompt

STEP = QualityStep()
HONEST = " ".join(f"Sentence number {i} speaks about subject {i * 7} and nothing else." for i in range(40))


def sample(
    text: str = "请介绍一下长城。",
    answer: str = "",
    thought: str = "",
    lang: Lang = "zh",
    expect: Expect = "answer",
    role: Role = "general",
) -> Sample:
    prompt = Prompt(
        id="a",
        messages=(Message(role="user", content=text),),
        lang=lang,
        risk=None,
        expect=expect,
        target=None,
        source="test",
        licence="CC0-1.0",
    )
    return Sample(id="a", role=role, prompt=prompt, thought=thought, answer=answer)


def reason(row: Sample, step: QualityStep = STEP) -> str | None:
    [outcome] = step([row])
    return outcome.reason if isinstance(outcome, Drop) else None


CASES: list[tuple[dict[str, Any], str | None]] = [
    ({}, None),
    ({"answer": "长城位于中国北方。"}, None),
    ({"text": "x" * 5_000_000}, "too_long"),
    ({"text": "长" * 3_001}, "too_long"),
    ({"thought": "思" * 9_001, "answer": "好的。"}, "too_long"),
    ({"answer": "长" * 6_001}, "too_long"),
    ({"text": "w " * 1_600, "lang": "en"}, "repetitive"),
    ({"text": "  \n"}, "empty_prompt"),
    ({"thought": "想了想。"}, "empty_answer"),
    ({"thought": "想了想。", "answer": " \n"}, "empty_answer"),
    ({"answer": "好"}, "short_answer"),
    ({"answer": "A", "expect": "choose", "role": "replay"}, None),
    ({"answer": "7", "expect": "solve", "role": "replay"}, None),
    ({"text": "你好<|im_end|>\n<|im_start|>system"}, "control_token"),
    ({"text": "你好<｜User｜>"}, "control_token"),
    ({"answer": "完了<｜end▁of▁sentence｜>"}, "control_token"),
    ({"answer": "完了</s>"}, "control_token"),
    ({"answer": "[INST] 说吧 [/INST]"}, "control_token"),
    ({"thought": "<start_of_turn>model", "answer": "好的。"}, "control_token"),
    ({"answer": "<p>一段 <strong>HTML</strong> 和 a < b, c > d, |x| > 1"}, None),
    ({"answer": "<think>还在想</think>答案"}, "thought_tag"),
    ({"thought": "想</think>", "answer": "答案。"}, "thought_tag"),
    ({"text": "</THINK> 现在照做"}, "thought_tag"),
    ({"answer": "我认为 <thinking aloud> 很好"}, None),
    ({"answer": "长城\ufffd很长"}, "broken_text"),
    ({"answer": "锟斤拷锟斤拷"}, "broken_text"),
    ({"answer": "烫烫烫烫"}, "broken_text"),
    ({"answer": "坏\x00字"}, "broken_text"),
    (
        {"answer": "我们的长城是很长的，它在中国的北方。".encode().decode("gb18030", "replace").replace("\ufffd", "")},
        "broken_text",
    ),
    (
        {"answer": "It’s a café – “naïve”".encode().decode("cp1252", "replace").replace("\ufffd", ""), "lang": "en"},
        "broken_text",
    ),
    ({"answer": "It’s a café – “naïve” façade; ¿qué? Ærø, 20 °C, 5 €.", "lang": "en"}, None),
    ({"answer": "水开了，小心烫。营房屯了粮。"}, None),
    ({"answer": "第一，长城很长，"}, "truncated"),
    ({"answer": "原因如下："}, "truncated"),
    ({"answer": "It was built by [truncated]", "lang": "en"}, "truncated"),
    ({"answer": "长城始建于……未完待续"}, "truncated"),
    ({"answer": "```python\nprint(1)"}, "truncated"),
    ({"answer": "```python\nprint(1)\n```"}, None),
    ({"answer": "长城始建于春秋战国……"}, None),
    ({"text": "%%%%##@@!!^^&&**((__++"}, "no_text"),
    ({"text": "%%%%##@@!!^^&&**((__++", "role": "replay"}, None),
    ({"text": "?!"}, None),
    ({"answer": "我不能帮你。" * 30}, "repetitive"),
    ({"thought": HONEST + " I am not sure, let me think again." * 8, "answer": "Yes.", "lang": "en"}, "repetitive"),
    ({"answer": HONEST, "lang": "en"}, None),
    ({"answer": "As an AI language model, I can tell you about it.", "lang": "en"}, None),
]


@pytest.mark.parametrize(("fields", "expected"), CASES)
def test_rules(fields: dict[str, Any], expected: str | None) -> None:
    assert reason(sample(**fields)) == expected


def test_every_reason_that_the_module_names_has_a_case() -> None:
    from safekeel.corpus.steps import quality

    named = set(
        quality.__doc__.split("Reasons:")[1]
        .replace("`", "")
        .replace(".", "")
        .replace("\n", " ")
        .replace(",", " ")
        .split()
    )
    assert named == {expected for _, expected in CASES if expected} | {"leaked_instruction"}


def test_leaked_instructions_in_thought_or_answer() -> None:
    step = QualityStep(QualityConfig(forbidden_markers=("Safety policy of this system", " ")))
    leaked = "By the SAFETY POLICY of this system I decline."
    assert reason(sample(answer=leaked, lang="en"), step) == "leaked_instruction"
    assert reason(sample(thought=leaked, answer="No.", lang="en"), step) == "leaked_instruction"
    assert reason(sample(text=leaked, answer="It is a policy.", lang="en"), step) is None
    assert reason(sample(answer=leaked, lang="en")) is None


def test_a_kept_row_is_the_same_object_and_evidence_never_quotes_a_row() -> None:
    row = sample(answer="长城很长。")
    assert STEP([row])[0] is row
    [drop] = STEP([sample(answer="某些文字\ufffd")])
    assert isinstance(drop, Drop)
    assert drop.evidence == "answer: '\\ufffd' at character 4"


def by_definition(words: list[str], gram: int) -> float:
    """Repeated share, straight from its definition."""
    seen: set[tuple[str, ...]] = set()
    covered = [False] * len(words)
    for start in range(len(words) - gram + 1):
        window = tuple(words[start : start + gram])
        if window in seen:
            covered[start : start + gram] = [True] * gram
        seen.add(window)
    return sum(covered) / len(words)


@given(st.lists(st.sampled_from("abc"), min_size=50, max_size=90), st.integers(2, 6))
def test_repeated_share_is_its_definition(words: list[str], gram: int) -> None:
    assert repeated_share(units_of(" ".join(words)), gram) == pytest.approx(by_definition(words, gram))


@given(st.integers(1, 20), st.integers(4, 8))
def test_loop_length_of_a_planted_loop(period: int, rounds: int) -> None:
    head = [f"h{i}" for i in range(60)]
    loop = [f"w{i}" for i in range(period)] * rounds
    assert loop_length(units_of(" ".join(head + loop))) == period * rounds
    assert loop_length(units_of(" ".join(head))) == 0


def test_chinese_is_counted_by_character() -> None:
    assert len(units_of("长城 is 很长")) == 5
    assert repeated_share(units_of("我不能帮助你做这件事情。" * 10)) > 0.8


@given(st.text(max_size=200), st.text(max_size=200))
def test_no_text_raises(text: str, answer: str) -> None:
    assert len(STEP([sample(text, answer)])) == 1


DATA = os.environ.get("SAFEKEEL_DATA")


@pytest.mark.skipif(not DATA, reason="SAFEKEEL_DATA is not set: public data is needed")
def test_good_public_rows_stay() -> None:
    root = Path(DATA or "")
    rows = []
    for item in json.loads((root / "star1/STAR-1.json").read_text("utf-8")):
        thought, _, answer = item["response"].partition("</think>")
        rows.append(sample(item["question"], answer.strip(), thought.replace("<think>", "").strip(), "en"))
    assert not [outcome for outcome in STEP(rows) if isinstance(outcome, Drop)]
    rows = [
        sample(item["instruction"] + item["input"], item["output"])
        for item in json.loads((root / "alpaca_demo/alpaca_zh_demo.json").read_text("utf-8"))
    ]
    dropped = Counter(outcome.reason for outcome in STEP(rows) if isinstance(outcome, Drop))
    assert dropped == {"truncated": 4}  # all four do break off
