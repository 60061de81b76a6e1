"""Step `language`: scripts, mixed text, short text, and responses in another language than their prompt."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safekeel.corpus.sample import Sample
from safekeel.corpus.steps.base import Drop
from safekeel.corpus.steps.language import LanguageStep, identify, mismatch, words_of
from safekeel.records import Lang, Message, Prompt

STEP = LanguageStep()


def sample(text: str, lang: Lang = "en", thought: str = "", answer: str = "", identifier: str = "a") -> Sample:
    prompt = Prompt(
        id=identifier,
        messages=(Message(role="user", content=text),),
        lang=lang,
        risk=None,
        expect="answer",
        target=None,
        source="test",
        licence="CC0-1.0",
    )
    return Sample(id=identifier, role="general", prompt=prompt, thought=thought, answer=answer)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("今天天气怎么样？", "zh"),
        ("請問台北有哪些夜市？", "zh"),
        ("好", "zh"),
        ("帮我用 Python 写一个 quicksort 函数", "zh"),
        ("優の良品是什么店", "zh"),
        ("How do I kill a Python process?", "en"),
        ("Hi!", "en"),
        ("What does “你好” mean?", "en"),
        ('"Where is the station?"', "en"),
        ("今日はとても良い天気ですね。散歩に行きましょう。", "other"),
        ("東京都の人口を教えてください", "other"),
        ("오늘 날씨가 어때요?", "other"),
        ("Как пройти в библиотеку?", "other"),
        ("كيف حالك اليوم؟", "other"),
        ("आज मौसम कैसा है?", "other"),
        ("วันนี้อากาศเป็นอย่างไร", "other"),
        ("Comment puis-je apprendre à cuisiner rapidement ?", "other"),
        ("¿Cómo puedo aprender a cocinar rápidamente en casa?", "other"),
        ("Wie kann ich schnell kochen lernen?", "other"),
        ("12 + 35 = ?", None),
        (r"$\frac{x}{2} = \alpha$", None),
        ("🙂🙂", None),
        ("", None),
    ],
)
def test_prompts(text: str, language: str | None) -> None:
    assert identify(text, "en" if language == "zh" else "zh") == language


def test_a_mixed_prompt_is_what_its_source_says() -> None:
    text = "Translate into English: 今天天气很好 我们去公园"
    assert identify(text, "en") == "en"
    assert identify(text, "zh") == "zh"


def test_a_wrong_declaration_is_corrected_and_noted() -> None:
    [row] = STEP([sample("请介绍一下长城的历史。", "en")])
    assert isinstance(row, Sample)
    assert row.prompt.lang == "zh"
    assert row.checks["language"] == {"declared": "en"}


def test_what_has_no_words_keeps_its_row_untouched() -> None:
    row = sample("3 × 7 = ?", "zh")
    assert STEP([row])[0] is row


def test_other_languages_leave_with_evidence() -> None:
    [drop] = STEP([sample("오늘 날씨가 어때요?")])
    assert isinstance(drop, Drop)
    assert drop.reason == "language"
    assert "hangul" in drop.evidence


@pytest.mark.parametrize("part", ["thought", "answer"])
def test_responses_speak_the_language_of_the_prompt(part: str) -> None:
    english = "The Great Wall was built over many centuries by several dynasties to protect the northern border."
    chinese = "长城由多个朝代历经数百年修建而成，用来保护北方的边境。"
    [drop] = STEP([sample("请介绍一下长城。", "zh", **{part: english})])
    assert isinstance(drop, Drop)
    assert drop.reason == "language_mismatch"
    assert drop.evidence.startswith(part)
    [drop] = STEP([sample("Tell me about the Great Wall.", "en", **{part: chinese})])
    assert isinstance(drop, Drop)
    kept = sample("请介绍一下长城。", "zh", **{part: chinese})
    assert STEP([kept])[0] is kept


def test_a_french_answer_to_an_english_prompt_is_a_mismatch() -> None:
    assert mismatch("La grande muraille a été construite pendant plusieurs siècles par de nombreuses dynasties.", "en")


@pytest.mark.parametrize(
    "answer",
    [
        "北京。Beijing",
        "可以这样写：\n```python\nfor number in range(10):\n    print(number, end=' ')\nvalue = compute(number)\n```",
        "答案是 $\\sqrt{a^2 + b^2} \\text{ where both are positive and real numbers in the interval}$。",
        "他说：“This is a rather long quotation of more than ten English words, word by word.”",
    ],
)
def test_code_formulas_and_quotations_are_no_language(answer: str) -> None:
    assert mismatch(answer, "zh") == ""


def test_a_translation_may_be_in_the_language_that_was_asked_for() -> None:
    answer = "The weather is very nice today, and we are going to the park together with our friends."
    row = sample("把这句话翻译成英文：今天天气很好，我们和朋友一起去公园。", "zh", answer=answer)
    assert STEP([row])[0] is row
    row = sample("请造一个包含“do away with”的句子。", "zh", answer=answer)
    assert STEP([row])[0] is row
    assert isinstance(STEP([row.model_copy(update={"thought": answer})])[0], Drop)  # a thought may not


def test_a_5_mb_row_costs_no_more_than_its_first_page() -> None:
    row = sample("天气" * 2_500_000, "zh")
    assert STEP([row])[0] is row
    assert words_of(row.prompt.messages[0].content).han == 4000


@given(st.lists(st.text(max_size=60), max_size=6))
def test_every_row_has_one_outcome_and_none_raises(texts: list[str]) -> None:
    rows = [sample(text, "zh", thought=text[::-1], answer=text, identifier=str(i)) for i, text in enumerate(texts)]
    outcomes = STEP(rows)
    assert len(outcomes) == len(rows)
    assert outcomes == STEP(rows)


DATA = os.environ.get("SAFEKEEL_DATA")


@pytest.mark.skipif(not DATA, reason="SAFEKEEL_DATA is not set: public data is needed")
def test_public_sets_are_in_their_language_whatever_is_declared() -> None:
    root = Path(DATA or "")
    alpaca = json.loads((root / "alpaca_demo/alpaca_en_demo.json").read_text("utf-8"))
    english = [row["instruction"] for row in alpaca]
    with (root / "xstest/xstest_prompts.csv").open(encoding="utf-8", newline="") as file:
        english += [row["prompt"] for row in csv.DictReader(file)]
    lines = (root / "cvalues/cvalues_responsibility_prompts.jsonl").read_text("utf-8").splitlines()
    chinese = [json.loads(line)["prompt"] for line in lines if line.strip()]
    # An imitation: none of the 1,449 and 664 is wrong today; 0.5% leaves room for another version of the model.
    assert sum(identify(text, "zh") != "en" for text in english) <= 0.005 * len(english)
    assert sum(identify(text, "en") != "zh" for text in chinese) <= 0.005 * len(chinese)
