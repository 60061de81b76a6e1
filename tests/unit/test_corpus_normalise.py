"""What normalising keeps, changes and drops; the forms in which texts are compared."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safekeel.corpus.sample import Sample
from safekeel.corpus.steps.arrays import token_hashes
from safekeel.corpus.steps.base import Drop
from safekeel.corpus.steps.normalise import Normalise, clean, compared_text, comparison_key, words
from safekeel.records import Attack, Message, Prompt

AWKWARD = (
    "ab 1_\t\n\r\v\f\u0085\u2028\u200d\u200b\u0301\ufe0f😀"
    "é\u3000\u2000\u212bＡ你學，。⼀ﬁ\u00ad\x1c\u00b2豈\ud800\u202e"
)
TEXTS = st.text(st.sampled_from(AWKWARD) | st.characters(), max_size=30)


def sample(*texts: str, answer: str = "", attack: Attack | None = None) -> Sample:
    messages = tuple(Message(role="user", content=text) for text in texts)
    prompt = Prompt(
        id="p",
        messages=messages,
        lang="zh",
        risk=None,
        expect="answer",
        target=None,
        source="t",
        licence="t",
        attack=attack,
    )
    return Sample(id="s", role="general", prompt=prompt, answer=answer)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ＡＢＣ１２３＋４", "ABC123+4"),
        ("你好，世界！（真的？）：“是”", "你好，世界！（真的？）：“是”"),
        ("x² + ½ ① ㎡ ™", "x² + ½ ① ㎡ ™"),
        ("<｜User｜>", "<｜User｜>"),
        ("\ufeffone\r\ntwo\rthree\u2028four", "one\ntwo\nthree\nfour"),
        ("a\u200bb\u2060c\u00add\u202ee\x00f\U000e0041g", "abcdefg"),
        ("a  b\u3000\u00a0c \n\n\n\nd", "a b c\n\nd"),
        ("def f():\n    return  1", "def f():\n    return 1"),
        ("⼀ﬁne", "一fine"),
        ("👩\u200d👧 and a\u200db", "👩\u200d👧 and ab"),
        ("e\u0301", "é"),
        ("ordinary text, 普通文字。", "ordinary text, 普通文字。"),
    ],
)
def test_clean_changes_what_a_reader_does_not_see(text: str, expected: str) -> None:
    assert clean(text) == expected


@given(TEXTS)
@settings(max_examples=500, deadline=None)
def test_cleaning_twice_is_cleaning_once_and_never_changes_the_key(text: str) -> None:
    once = clean(text)
    assert clean(once) == once
    if any(letter.isalnum() for letter in text):
        assert comparison_key(once) == comparison_key(text)
    once.encode()  # no half surrogate pair is left


def test_key_is_blind_to_form_and_not_to_content() -> None:
    same = ["会计学后台 Ab1", "會計學後臺\u200b ＡＢ１！", " 会计学，后台ab1"]
    assert len({comparison_key(text) for text in same}) == 1
    assert comparison_key("乾隆") == "乾隆"
    assert comparison_key("会计") != comparison_key("会议")
    assert comparison_key("???") == "???" != comparison_key("!")
    assert comparison_key("你\ud800好") == "你好"  # half a surrogate pair, which OpenCC would refuse


def test_words_are_han_characters_and_runs_of_letters() -> None:
    assert words("怎麼用Python3写代码, ok_2?") == ["怎", "么", "用", "python3", "写", "代", "码", "ok", "2"]


@given(st.lists(TEXTS, max_size=5))
@settings(max_examples=300, deadline=None)
def test_token_hashes_are_the_tokens_of_words(texts: list[str]) -> None:
    hashes, starts = token_hashes(texts)
    seen: dict[int, str] = {}
    for place, text in enumerate(texts):
        own = hashes[starts[place] : starts[place + 1]].tolist()
        assert len(own) == len(words(text))
        for value, token in zip(own, words(text), strict=True):
            assert seen.setdefault(value, token) == token
    assert len(set(seen.values())) == len(seen)


def test_step_cleans_all_texts_and_says_when_nothing_changed() -> None:
    plain = sample("你好")
    step = Normalise()
    assert step([plain])[0] is plain
    (changed,) = step([sample("你\u200b好", answer="ｏｋ")])
    assert isinstance(changed, Sample)
    assert (changed.prompt.messages[0].content, changed.answer) == ("你好", "ok")


def test_step_drops_what_says_nothing_and_leaves_disguises_alone() -> None:
    attacked = sample("ｈｅｌｌｏ\u200b", attack=Attack(name="full_width"))
    empty, kept = Normalise()([sample(" \u200b\ufeff\n"), attacked])
    assert isinstance(empty, Drop) and empty.reason == "empty"
    assert kept is attacked


def test_only_the_users_turns_are_compared() -> None:
    turns = (
        Message(role="system", content="rules"),
        Message(role="user", content="one"),
        Message(role="assistant", content="two"),
        Message(role="user", content="three"),
    )
    assert compared_text(sample("x").prompt.model_copy(update={"messages": turns})) == "one\nthree"


def test_a_text_has_the_key_of_its_traditional_form() -> None:
    from opencc import OpenCC

    text = "关于夫妻二人背着苔藓复仇的故事，于是熏香澄清了后台的发展，干部们面面相觑，历史系的钟表制造业仍在里面。"
    traditional = OpenCC("s2t").convert(text)
    assert traditional != text
    assert comparison_key(traditional) == comparison_key(text)
