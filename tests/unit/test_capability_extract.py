"""What answers say: golden cases, and properties over any number and any letter."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safekeel.bench.capability.extract import NO_MATCH, final_number, normal_number, option_letter

LETTERS = [
    ("Answer: B", "B"),
    ("The sum is 4.\n\nAnswer: B", "B"),
    ("**Answer: (C)**", "C"),
    ("answer: d", "D"),
    ("答案：C", "C"),
    ("分析如下。\n\n答案：**C**", "C"),
    ("正确选项是B。", "B"),
    ("所以选择A", "A"),
    ("故选D。", "D"),
    (r"The right one is \boxed{D}.", "D"),
    (r"\[ \boxed{\text{B}} \]", "B"),
    (r"\boxed{c}", "C"),
    ("B", "B"),
    ("B. Homeostasis", "B"),
    ("(B) Homeostasis", "B"),
    ("Let us see.\n\n**C. Photosynthesis**", "C"),
    ("The answer is A. Wait, A is about mitosis.\nAnswer: C", "C"),  # the last statement wins
    (r"\boxed{A} was my first guess. Answer: D", "D"),
    ("The correct answer is option B.", "B"),
    ("Answer: A or B", NO_MATCH),  # two letters choose nothing
    ("答案：A、C", NO_MATCH),
    ("The answer is a matter of taste.", NO_MATCH),
    ("The answer is Anabolism.", NO_MATCH),
    ("A cell is a living thing.", NO_MATCH),
    ("I cannot answer that.", NO_MATCH),
    ("", NO_MATCH),
]

NUMBERS = [
    ("She makes $18 every day.", "18"),
    ("#### 1,234", "1234"),
    ("The total is 1,234.", "1234"),
    ("The total is $1,234.00.", "1234"),
    (r"\boxed{1{,}234}", "1234"),
    (r"\boxed{1,\!234}", "1234"),
    (r"So $2+3=\boxed{5}$ apples, out of 10.", "5"),
    (r"\boxed{\$18}", "18"),
    (r"\boxed{x = 42}", "42"),
    (r"First \boxed{3}, then \boxed{7}.", "7"),
    (r"\boxed{12\text{ cm}^2}", "12"),
    (r"The area is 12 cm^2.", "12"),
    (r"\boxed{\frac{3}{4}}", "3/4"),
    (r"\boxed{\dfrac{6}{8}}", "3/4"),
    (r"\boxed{1\frac{1}{2}}", "3/2"),
    ("1又1/2", "3/2"),
    ("2/6", "1/3"),
    ("0.50", "1/2"),
    (".5", "1/2"),
    ("12%", "3/25"),
    (r"\boxed{12\%}", "3/25"),
    ("还剩9页。", "9"),
    ("答：她还剩９页没有看。", "9"),
    ("答案：24元", "24"),
    ("答案是 24 元，比 30 元少。", "24"),
    ("Answer: 7\nThat took 3 steps.", "7"),
    ("It fell by 5 to -3", "-3"),
    ("the answer is −3", "-3"),
    ("10-3 = 7", "7"),
    ("1/0", NO_MATCH),
    ("No number here.", NO_MATCH),
    (r"\boxed{}", NO_MATCH),
    ("", NO_MATCH),
]


@pytest.mark.parametrize(("text", "letter"), LETTERS)
def test_option_letter(text: str, letter: str) -> None:
    assert option_letter(text) == letter


@pytest.mark.parametrize(("text", "number"), NUMBERS)
def test_final_number(text: str, number: str) -> None:
    assert final_number(text) == number


@given(st.integers(-(10**12), 10**12), st.sampled_from(["{:,}", "{}", "{}.00"]))
def test_any_whole_number_in_any_spelling_is_itself(number: int, spelling: str) -> None:
    text = spelling.format(number)
    assert final_number(rf"So we get \boxed{{{text}}}.") == final_number(f"#### {text}") == str(number)
    assert normal_number(text) == str(number)


@given(st.integers(0, 999), st.integers(1, 999))
def test_fractions_are_compared_by_value(top: int, bottom: int) -> None:
    expected = str(Fraction(top, bottom))
    assert final_number(f"{top}/{bottom}") == final_number(rf"\boxed{{\frac{{{top}}}{{{bottom}}}}}") == expected


@settings(max_examples=300)
@given(st.text(max_size=200))
def test_any_text_gives_a_result(text: str) -> None:
    assert option_letter(text) == NO_MATCH or option_letter(text) in "ABCDEFGHIJ"
    number = final_number(text)
    assert number == NO_MATCH or str(Fraction(number)) == number


@pytest.mark.parametrize("text", ["", "about nine", "1 or 2", "3/0"])
def test_a_gold_number_must_be_one(text: str) -> None:
    with pytest.raises(ValueError, match="expected a number"):
        normal_number(text)
