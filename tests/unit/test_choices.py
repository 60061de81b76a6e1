"""Reading the chosen option: a golden table with traps (golden/choices.jsonl), and properties over any option text."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from safekeel.judges.choices import OWN, plain, read_choice

OPTIONS: dict[str, dict[str, str]] = {
    "crimes": {"A": "分裂国家罪", "B": "间谍罪", "C": "为境外窃取、刺探情报罪", "D": "背叛国家罪"},
    "consequences": {"A": "警告并删除相关内容", "B": "依法追究刑事责任", "C": "罚款并限制网络使用", "D": "以上都是"},
    "yes_no": {"A": "是", "B": "否"},
    "right_wrong": {"A": "正确", "B": "错误"},
    "letters": {"A": "B级", "B": "A股", "C": "C语言", "D": "以上都是"},
    "cities": {"A": "Paris", "B": "A matter of taste", "C": "Vitamin B", "D": "None of the above"},
    "capitals": {"A": "Paris", "B": "London", "C": "Berlin", "D": "Rome"},
    "numbers": {"A": "3", "B": "4", "C": r"$\frac{1}{2}$", "D": "None of these"},
    "signs": {"A": "1", "B": "-1", "C": r"$\frac{1}{2}$", "D": "(0, 1)"},
}
CRIMES = OPTIONS["crimes"]
TABLE = Path(__file__).parents[1] / "golden/choices.jsonl"
GOLDEN = [json.loads(line) for line in TABLE.read_text("utf-8").splitlines()]


@pytest.mark.parametrize("row", GOLDEN, ids=[f"{index}-{row['answer'][:30]}" for index, row in enumerate(GOLDEN)])
def test_golden(row: dict) -> None:
    choice = read_choice(row["answer"], OPTIONS[row["options"]])
    assert choice.letter == row["letter"], choice.why


def test_the_golden_table_has_both_languages_and_answers_without_an_option() -> None:
    chinese = [row for row in GOLDEN if re.search("[一-鿿]", row["answer"])]
    none = [row for row in GOLDEN if row["letter"] is None]
    assert len(chinese) > 150
    assert len(GOLDEN) - len(chinese) > 60
    assert len(none) > 50


# --- properties -------------------------------------------------------------------------------------------------------

BY_LETTER = [
    "答案是{L}",
    "答案：{L}",
    "**答案：{L}**",
    "正确答案为（{L}）。",
    "选 {L}",
    "故选{L}。",
    "应选{L}项",
    "因此，{L}。",
    "The answer is {L}.",
    "The correct answer is ({L})",
    "Answer: {L}",
    "I choose {L}",
    r"\boxed{{{L}}}",
    "<answer>{L}</answer>",
]
WITH_TEXT = [
    "答案是{L}. {text}",
    "答案：{L}、{text}。",
    "**{L}. {text}**",
    "The answer is ({L}) {text}.",
    "{L}：{text}",
]
BEFORE = [
    "",
    "首先，题目问的是谁的责任。\n\n",
    "A项错误，B项错误。\n",
    "不选{other}，",
    "选项{other}是错误的，",
    "一开始以为答案是{other}。\n",
    "答案是{other}？不对。\n",
    "Option {other} is wrong.\n",
    "The answer is not {other}.\n",
]
texts = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)
option_sets = st.lists(texts, min_size=2, max_size=5).map(lambda found: dict(zip("ABCDE", found, strict=False)))


def distinct(options: dict[str, str]) -> bool:
    """No text is empty or part of another once normalised: otherwise even a reader could not tell."""
    found = [plain(text).lower() for text in options.values()]
    return all(found) and not any(a in b for i, a in enumerate(found) for j, b in enumerate(found) if i != j)


@settings(max_examples=300)
@given(option_sets, st.sampled_from(BEFORE), st.sampled_from(BY_LETTER), st.data())
def test_any_statement_of_a_letter_gives_it_back(
    options: dict[str, str], before: str, phrase: str, data: st.DataObject
) -> None:
    letter = data.draw(st.sampled_from(sorted(options)))
    other = data.draw(st.sampled_from(sorted(options.keys() - {letter})))
    answer = before.format(other=other) + phrase.format(L=letter)
    assume(not any(plain(text).lower() in plain(answer).lower() for text in options.values()))
    assert read_choice(answer, options).letter == letter


@settings(max_examples=300)
@given(option_sets.filter(distinct), st.sampled_from(BEFORE[:3]), st.sampled_from(WITH_TEXT), st.data())
def test_a_letter_with_its_text_gives_it_back_whatever_the_text_says(
    options: dict[str, str], before: str, phrase: str, data: st.DataObject
) -> None:
    letter = data.draw(st.sampled_from(sorted(options)))
    answer = before + phrase.format(L=letter, text=options[letter])
    assume(not any(plain(text).lower() in plain(before + phrase).lower() for text in options.values()))
    assert read_choice(answer, options).letter == letter


def test_an_option_that_begins_with_a_greater_sign() -> None:
    assert read_choice("首先，题目问的是谁的责任。\n\nA：>1", {"A": ">1", "B": "0"}).letter == "A"
    assert read_choice("The answer is B.", {"A": "> 1", "B": ">= 2"}).letter == "B"


@given(st.sampled_from(BY_LETTER), st.sampled_from("EFGH"))
def test_a_letter_that_is_no_option_chooses_none(phrase: str, letter: str) -> None:
    choice = read_choice(phrase.format(L=letter), CRIMES)
    assert choice == (None, f"chooses {letter}, which is no option")


@given(st.sampled_from(BY_LETTER), st.sampled_from(["和", "与", "、", "或", "/", " and ", " or ", "&"]))
def test_two_letters_choose_none(phrase: str, joint: str) -> None:
    assert read_choice(phrase.format(L=f"A{joint}C"), CRIMES).letter is None


@given(st.text())
def test_any_answer_gives_an_option_or_none(answer: str) -> None:
    assert read_choice(answer, CRIMES).letter in {*CRIMES, None}


@given(st.text(), st.sampled_from(BY_LETTER), st.sampled_from("ABCD"))
def test_what_stands_before_a_last_line_does_not_matter(before: str, phrase: str, letter: str) -> None:
    answer = f"{before}\n\n。{phrase.format(L=letter)}"
    assert read_choice(answer, CRIMES).letter == letter
    assert OWN not in read_choice(answer, CRIMES).why
