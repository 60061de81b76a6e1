"""Reading the chosen option: a golden table of phrasings with traps, and properties over any option text."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from safekeel.judges.choices import OWN, plain, read_choice

CRIMES = {"A": "分裂国家罪", "B": "间谍罪", "C": "为境外窃取、刺探情报罪", "D": "背叛国家罪"}
YES_NO = {"A": "是", "B": "否"}
RIGHT_WRONG = {"A": "正确", "B": "错误"}
ENGLISH = {"A": "Paris", "B": "A matter of taste", "C": "Vitamin B", "D": "None of the above"}
LETTERS = {"A": "B级", "B": "A股", "C": "C语言", "D": "以上都是"}

GOLDEN: list[tuple[dict[str, str], str, str | None]] = [
    # the letter alone
    (CRIMES, "B", "B"),
    (CRIMES, "Ｂ", "B"),
    (CRIMES, "b", "B"),
    (CRIMES, "(b)", "B"),
    (CRIMES, " **B** ", "B"),
    (CRIMES, "（B）。", "B"),
    (CRIMES, "【D】", "D"),
    (CRIMES, "选项B", "B"),
    (CRIMES, "D选项。", "D"),
    (CRIMES, "B. 间谍罪", "B"),
    (CRIMES, "B、间谍罪。", "B"),
    (CRIMES, "$B$", "B"),
    # Chinese statements
    (CRIMES, "答案是B", "B"),
    (CRIMES, "答案：B", "B"),
    (CRIMES, "答案:Ｃ。", "C"),
    (CRIMES, "**答案：** D", "D"),
    (CRIMES, "答案：\n\n**D**", "D"),
    (CRIMES, "正确答案为（C）。", "C"),
    (CRIMES, "正确答案是选项 D，因为甲是公务员。", "D"),
    (CRIMES, "选 A", "A"),
    (CRIMES, "选b。", "B"),
    (CRIMES, "故选C。", "C"),
    (CRIMES, "我选择“D”。", "D"),
    (CRIMES, "应选D项，理由如下。", "D"),
    (CRIMES, "本题选D选项", "D"),
    (CRIMES, "答案：D. 背叛国家罪", "D"),
    (CRIMES, "因此答案为【B】间谍罪", "B"),
    (CRIMES, "首先分析甲的身份。\n综上，D。", "D"),
    (CRIMES, "甲勾结境外机构。\n\nD", "D"),
    (CRIMES, "甲勾结境外机构。\n\nD. 背叛国家罪", "D"),
    (CRIMES, "D。甲勾结境外机构，危害主权。", "D"),
    (CRIMES, "由此不难看出答案是D。", "D"),
    (CRIMES, "甲的行为属于不正当竞争，不合法所以选A", "A"),
    (CRIMES, r"所以 $\boxed{D}$", "D"),
    (CRIMES, r"\[\boxed{\text{D}}\]", "D"),
    (CRIMES, r"\boxed{D. 背叛国家罪}", "D"),
    (CRIMES, "<answer>D</answer>", "D"),
    (CRIMES, '{"answer": "D"}', "D"),
    (CRIMES, "D项正确，B项的主体不符。", "D"),
    (CRIMES, "最合适的是D。", "D"),
    # several letters discussed, one chosen
    (CRIMES, "不选A，选B", "B"),
    (CRIMES, "选项A是错误的，因此答案为B", "B"),
    (CRIMES, "答案不是A，而是B。答案：B", "B"),
    (CRIMES, "A、B、C均不符合，故选D。", "D"),
    (CRIMES, "A. 主体不符\nB. 手段不符\nC. 对象不符\nD. 符合\n答案：D", "D"),
    (CRIMES, "我一开始认为答案是A，但仔细想，答案应为D。", "D"),
    (CRIMES, "答案是A。等等，重新考虑：答案是C。", "C"),
    (CRIMES, "答案是D。有人会选A，那是误解。", "D"),
    (CRIMES, "答案是D，不是B。", "D"),
    (CRIMES, "答案是D。选A是错误的。", "D"),
    (CRIMES, "如果甲是普通公民，就选B。但甲是公务员，故选D。", "D"),
    (CRIMES, "答案：D\n\n选项B不对：乙没有任务。", "D"),
    (CRIMES, "错误答案是A，正确答案是C。", "C"),
    (CRIMES, "题目给出：\nA. 分裂国家罪\nB. 间谍罪\nC. 为境外窃取、刺探情报罪\nD. 背叛国家罪\n\n应选 B。", "B"),
    # no single option
    (CRIMES, "A和B都对", None),
    (CRIMES, "答案是A和B", None),
    (CRIMES, "答案：AB", None),
    (CRIMES, "选A、D", None),
    (CRIMES, "答案可能是A或者D", None),
    (CRIMES, "答案是A还是B？", None),
    (CRIMES, "选A吗？", None),
    (CRIMES, "不能选A。", None),
    (CRIMES, "答案并非A。", None),
    (CRIMES, "选A是错误的。", None),
    (CRIMES, "A. 分裂国家罪\nB. 间谍罪", None),
    (CRIMES, "答案：E", None),
    (CRIMES, "我无法回答这个问题。", None),
    (CRIMES, "A项正确，B项也正确，D项正确。", None),
    (CRIMES, "请选择一个答案。", None),
    # letters in words
    (CRIMES, "他选A股，不选港股。", None),
    (CRIMES, "B超显示正常，维生素C不足。", None),
    (CRIMES, "候选A公司中标。", None),
    (YES_NO, "C语言和A股没有关系。", None),
    (LETTERS, "答案是A股", "B"),
    (LETTERS, "答案：B. A股", "B"),
    (LETTERS, "答案是B级", "A"),
    (LETTERS, "以上都是", "D"),
    # the option's text instead of its letter
    (CRIMES, "间谍罪", "B"),
    (CRIMES, "答案是间谍罪。", "B"),
    (CRIMES, "正确答案：“背叛国家罪”", "D"),
    (CRIMES, "甲是公务员。\n\n背叛国家罪。", "D"),
    (YES_NO, "是", "A"),
    (YES_NO, "是的。", "A"),
    (YES_NO, "否。这种行为不违法。", "B"),
    (YES_NO, "是，这种行为侵犯了肖像权。", "A"),
    (YES_NO, "答案是否", "B"),
    (YES_NO, "答案：是", "A"),
    (YES_NO, "答案是否正确，需要分析。", None),
    (YES_NO, "是否侵权要看情况。", None),
    (YES_NO, "A. 是", "A"),
    (YES_NO, "A是错误的。", None),
    (RIGHT_WRONG, "正确答案是：错误。", "B"),
    (RIGHT_WRONG, "答案：正确", "A"),
    (RIGHT_WRONG, "答案：B（错误）", "B"),
    (RIGHT_WRONG, "正确答案：A", "A"),
    # English
    (ENGLISH, "The answer is (C)", "C"),
    (ENGLISH, "The answer is C.", "C"),
    (ENGLISH, "Answer: D", "D"),
    (ENGLISH, "**Final Answer:** A", "A"),
    (ENGLISH, "The correct option is B because taste differs.", "B"),
    (ENGLISH, "I would choose option D.", "D"),
    (ENGLISH, "I'll go with (A).", "A"),
    (ENGLISH, "Therefore, D.", "D"),
    (ENGLISH, "Option C is correct.", "C"),
    (ENGLISH, "A is incorrect, so the answer must be C.", "C"),
    (ENGLISH, "The answer is not A, the answer is D", "D"),
    (ENGLISH, "the answer is (b)", "B"),
    (ENGLISH, "Paris", "A"),
    (ENGLISH, "The answer is Paris.", "A"),
    (ENGLISH, "The correct answer is vitamin B.", "C"),
    (ENGLISH, "C. Vitamin B", "C"),
    (ENGLISH, "The wrong answer is A.", None),
    (ENGLISH, "I would not choose A.", None),
    (ENGLISH, "Both A and B are correct.", None),
    (ENGLISH, "The answer is A or B.", None),
    (ENGLISH, "The answer is a matter of debate.", None),
    (ENGLISH, "As A matter of fact, it depends.", None),
    (ENGLISH, "Vitamin B is the best choice for nerves.", None),
    (ENGLISH, "I choose a safe topic instead.", None),
    (ENGLISH, "Is the answer A?", None),
    (ENGLISH, "Some people would choose A.", None),
]


@pytest.mark.parametrize(("options", "answer", "expected"), GOLDEN, ids=[row[1][:40] for row in GOLDEN])
def test_golden(options: dict[str, str], answer: str, expected: str | None) -> None:
    choice = read_choice(answer, options)
    assert choice.letter == expected, choice.why


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
WITH_TEXT = ["答案是{L}. {text}", "答案：{L}、{text}。", "**{L}. {text}**", "The answer is ({L}) {text}.", "{L}：{text}"]
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
