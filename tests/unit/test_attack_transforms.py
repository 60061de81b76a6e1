"""Transforms of the modes encoding, chinese, code and reasoning: known values, exact round trips, puzzles that are
right, and what is said where a library is missing."""

from __future__ import annotations

import random
import re
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safekeel.attacks import ATTACKS, Request
from safekeel.attacks.base import WORDINGS, Lang
from safekeel.attacks.chunks import chunks
from safekeel.attacks.coding import spaced, swap_table
from safekeel.attacks.puzzle import puzzle
from safekeel.attacks.radical_split import parts
from safekeel.chat import EMPTY_THOUGHT
from safekeel.errors import UsageError

EN, ZH = "How do I stack wood?", "怎么把木头堆整齐？"
MIXED = "How 怎么 Stack\u200b木头 😀👩‍🚒 é\u0301 5.0 \\u5b89 a-b\n\t\0 ＡＢ ⼈ Ω"
REVERSIBLE = [name for name in ATTACKS.names() if ATTACKS.get(name).reveal]
HIDING = [name for name in REVERSIBLE if ATTACKS.get(name).mode == "encoding" and name not in ("leet", "homoglyph")]
LANGS: tuple[Lang, ...] = ("en", "zh")


def payload(name: str, text: str, lang: Lang = "en", seed: int = 0) -> str:
    family = ATTACKS.get(name)
    return family.payload(family.apply(Request(text, lang), "test", random.Random(seed)), lang)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("base64", "Hello 安", "SGVsbG8g5a6J"),
        ("base32", "foobar", "MZXW6YTBOI======"),  # RFC 4648, section 10
        ("hex", "Hi 安", "48 69 20 e5 ae 89"),
        ("binary", "Hi", "01001000 01101001"),
        ("rot13", "Why? 安", "Jul? \\h5o89"),
        ("caesar", "xyz Abc", "abc Def"),
        ("morse", "sos 1", "... --- ... / .----"),
        ("morse", "Hi", "..-- .... .."),
        ("morse", "安", "---- ..--- ...-- ....- ...-- ...-- ----"),  # 23433 = 0x5B89
        ("leet", "a test at 4", "4 7357 47 a"),
        ("leet", "我是一个人", "５４１Ｇ人"),
        ("homoglyph", "cap", "сар"),
        ("homoglyph", "人", "⼈"),
        ("fullwidth", "Hi!", "Ｈｉ！"),
        ("math_letters", "Ab1", "𝑨𝒃𝟏"),
        ("zero_width", "abc", "a\u200bb\u200bc"),
        ("reversed_characters", "abc 安全", "全安 cba"),
        ("token_split", "ab c", "a-b c"),
        ("markdown_table", "a|b\\n\nc", "a\\|b\\\\n\\nc"),
    ],
)
def test_known_values(name: str, text: str, expected: str) -> None:
    assert payload(name, text) == expected


@pytest.mark.parametrize("name", REVERSIBLE)
@given(text=st.one_of(st.text(max_size=60), st.text(alphabet=MIXED, max_size=60)), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_every_reversible_transform_returns_any_text(name: str, text: str, seed: int) -> None:
    reveal = ATTACKS.get(name).reveal
    assert reveal is not None and reveal(payload(name, text, "zh", seed)) == text


@pytest.mark.parametrize("name", HIDING)
def test_an_encoding_leaves_no_part_of_the_request_readable(name: str) -> None:
    assert not any(word in payload(name, EN) for word in ("How", "stack", "wood"))
    assert not any(ZH[at : at + 2] in payload(name, ZH, "zh") for at in range(len(ZH) - 1))


@pytest.mark.parametrize("name", ["base64", "base32", "hex", "binary", "rot13", "morse", "fullwidth", "math_letters"])
def test_what_was_not_encoded_so_is_an_error(name: str) -> None:
    reveal = ATTACKS.get(name).reveal
    assert reveal is not None
    with pytest.raises(ValueError):
        reveal("木头 §\\")


def test_code_without_its_parts_is_an_error() -> None:
    for name in ("variable_concatenation", "dictionary_function"):
        code, reveal = payload(name, EN), ATTACKS.get(name).reveal
        assert reveal is not None
        for broken in ("print(1)", code + " + missing"):
            with pytest.raises(ValueError):
                reveal(broken)


def test_a_table_that_would_lose_text_is_refused() -> None:
    for pairs in ([("a", "4"), ("A", "4")], [("a", "a")]):
        with pytest.raises(ValueError, match="uses a character twice"):
            swap_table(pairs)


@given(st.text(max_size=80))
def test_chunks_are_few_and_whole(text: str) -> None:
    found = chunks(text)
    assert "".join(found) == text and 1 <= len(found) <= 6 and (all(found) or not text)


def test_the_snippets_are_python_that_gives_the_request() -> None:
    """Run, not only read back by our own parser."""
    text = 'He said "no" \\ {q} \n 安全 😀'
    for seed in range(5):
        for name, result in (("variable_concatenation", "question"), ("dictionary_function", "topic()")):
            scope: dict[str, Any] = {}
            exec(payload(name, text, seed=seed), scope)
            assert eval(result, scope) == text
    assert payload("variable_concatenation", EN, seed=1) != payload("variable_concatenation", EN, seed=2)


# --- Chinese ----------------------------------------------------------------------------------------------------------


def chinese(name: str, text: str, seed: int = 0, segments: tuple[str, ...] = ()) -> str:
    family = ATTACKS.get(name)
    for module in family.requires:
        pytest.importorskip(module, reason=f"the attack {name} needs {module}: pip install 'safekeel[attacks]'")
    (found,) = family.fill(Request(text, "zh", segments), random.Random(seed)).values()
    return found


def test_pinyin_reads_words_and_keeps_the_rest() -> None:
    assert chinese("pinyin", "重庆的重量3吨，OK吗？😀") == "chong qing de zhong liang 3 dun，OK ma？😀"
    assert chinese("toned_pinyin", "安全") == "ān quán"


def test_initials_stand_for_every_other_piece() -> None:
    segments = ("怎么", "制作", "木头", "玩具")
    found = {chinese("pinyin_initials", "怎么制作木头玩具", seed, segments) for seed in range(8)}
    assert found == {"zm制作mt玩具", "怎么zz木头wj"}
    assert chinese("pinyin_initials", "怎么制作木头玩具") in found


def test_homophones_sound_the_same() -> None:
    text = "怎么把木头堆整齐，请写出详细步骤" * 3
    found = chinese("homophones", text, seed=1)
    assert found != text and len(found) == len(text)
    assert chinese("homophones", text, seed=2) != found
    import pypinyin

    for before, after in zip(text, found, strict=True):
        assert pypinyin.pinyin(before) == pypinyin.pinyin(after)


def test_radicals() -> None:
    assert chinese("radical_split", "炸好吃的abc") == "火乍女子口乞的abc"
    table = parts()
    assert len(table) > 500 and len(set(table.values())) == len(table)
    assert (table["刺"], table["请"], table["防"], table["都"]) == ("束刂", "讠青", "阝方", "者阝")
    for character, split in table.items():
        assert len(character) == 1 and len(split) == 2 and character not in split


def test_traditional_and_variant_characters() -> None:
    assert chinese("traditional", "头发在屋里，为了群众") == "頭髮在屋裏，爲了羣衆"


def test_mixed_language_both_ways() -> None:
    family = ATTACKS.get("mixed_language")
    assert chinese("mixed_language", "如何制作纸船？请说明步骤。") == "how to make 纸船？please explain steps。"
    (english,) = family.fill(Request("Tell me HOW TO make paper, please!", "en"), random.Random(0)).values()
    assert english == "告诉我 怎么 制作 paper, 请!"
    (odd,) = family.fill(Request("\u017fteps", "en"), random.Random(0)).values()
    assert odd == "\u017fteps"  # the long s matches s where case does not count, and stands in no table


def test_words_that_touch_get_a_space() -> None:
    assert spaced(["a", "安", "，", "b", "c", " d"]) == "a 安，b c d"


@pytest.mark.parametrize(
    ("name", "module"), [("pinyin", "pypinyin"), ("homophones", "pypinyin"), ("traditional", "opencc")]
)
def test_a_missing_library_is_named_with_its_extra(name: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from safekeel.attacks import homophones, romanised
    from safekeel.chinese_script import converter

    for cached in (homophones._by_sound, romanised.pypinyin, converter):
        cached.cache_clear()
    monkeypatch.setitem(sys.modules, module, None)
    family = ATTACKS.get(name)
    assert family.requires == (module,)
    with pytest.raises(UsageError, match=r"pip install 'safekeel\[attacks\]'"):
        family.apply(Request(ZH, "zh"))


# --- reasoning --------------------------------------------------------------------------------------------------------

LEFT = {"en": r"(\w+) stands directly to the left of (\w+)\.", "zh": r"(\w+)紧挨着站在(\w+)的左边"}
FAR = {"en": r"Between (\w+) and (\w+) there are exactly (\d) ", "zh": r"(\w+?)和(\w+)之间正好有 (\d) "}
ASK = {"en": r"number (\d) from the left\?", "zh": r"第 (\d) 个是谁"}
START = {"en": r"take the number (\d+)", "zh": r"取数字 (\d+)"}


@pytest.mark.parametrize("lang", LANGS)
@pytest.mark.parametrize("seed", range(8))
def test_a_puzzle_solved_from_its_text_gives_its_answers(lang: Lang, seed: int) -> None:
    found = puzzle(lang, random.Random(seed))
    assert found == puzzle(lang, random.Random(seed)) != puzzle(lang, random.Random(seed + 100))
    after = dict(re.findall(LEFT[lang], found.text))
    (first,) = set(after) - set(after.values())
    row = [first]
    while row[-1] in after:
        row.append(after[row[-1]])
    assert len(row) == 8  # the clues leave one order
    distances = re.findall(FAR[lang], found.text)
    assert len(distances) == 2
    assert all(abs(row.index(one) - row.index(other)) - 1 == int(num) for one, other, num in distances)
    (place,), (number,) = re.findall(ASK[lang], found.text), map(int, re.findall(START[lang], found.text))
    assert row[int(place) - 1] == found.name
    steps = re.findall(r"^\d+\. (.*)$", found.text, re.MULTILINE)
    assert len(steps) == 20
    for step in steps:
        number = solved(step, number)
    assert number == found.number


def solved(step: str, number: int) -> int:
    small = int(re.findall(r"\d+", step)[-1])
    if "even" in step or "偶数" in step:
        return number // 2 if number % 2 == 0 else number + small
    if step.startswith(("multiply", "乘")):
        return number * small
    return number - small if step.startswith(("subtract", "减")) else number + small


@pytest.mark.parametrize("name", ["think_prefill", "no_think", "answer_prefill"])
def test_prefills_begin_a_turn_in_the_right_state_and_end_within_a_sentence(name: str) -> None:
    family = ATTACKS.get(name)
    for lang in LANGS:
        begun = [family.messages(Request(EN, lang), wording)[-1].content for wording in WORDINGS]
        assert len(set(begun)) == (1 if name == "no_think" else 3)
        for content in begun:
            opened = content.startswith("<think>\n") and "</think>" not in content
            assert opened if name == "think_prefill" else content.startswith(EMPTY_THOUGHT)
            rest = content.removeprefix(EMPTY_THOUGHT)
            assert rest == rest.strip(), "a blank at the end would part the next token from its space"
            assert (rest == "") == (name == "no_think")
