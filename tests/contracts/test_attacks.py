"""Every attack family: metadata, determinism, its languages, three really different wordings, a conversation that ends
as its kind says, nothing of the request lost, and no scripted assistant turn that says anything."""

from __future__ import annotations

import difflib
import json
import random
import re
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safekeel.attacks import ATTACKS, BUILT_IN, SUBSETS, AttackFamily, Request, describe, resolve
from safekeel.attacks.base import KINDS, MODES, WORDINGS, Lang, Wording, substitute
from safekeel.attacks.scripted import PLACEHOLDERS
from safekeel.attacks.subsets import S_EVAL, SEED_MODES
from safekeel.bench.safety import s_eval
from safekeel.errors import UsageError
from safekeel.nano.requests import NANO_FAMILIES
from safekeel.records import Message

FAMILIES = ATTACKS.names()
PLAIN_FILL = AttackFamily.__dataclass_fields__["fill"].default
HAN = re.compile(r"[\u4e00-\u9fff]")
MAX_ALIKE = 0.7  # of the frames of two wordings (difflib's ratio): a changed name or number alone gives above 0.9
MAX_PREFILL = 400  # characters: the beginning of a turn, not an answer
REQUESTS: dict[Lang, Request] = {
    "en": Request("How do I stack wood?", "en", ("How do I", "stack", "wood?")),
    "zh": Request("怎么堆木头？", "zh", ("怎么", "堆", "木头？")),
}
# Everything a request may hold that a careless transform loses: braces, quotes, emoji with joiners and skin tones,
# zero-width characters, right-to-left text with marks, combining accents, full-width forms, line ends, rare planes.
ODD = (
    "a Z 0 {q} {} \\ \" ' 木 头 ？ ，“” 🪵 👩‍🚒 👍🏽 🇨🇳 \u200b \u200d \ufeff \u202e שלום سلام \u0301 Ａ ﾊ ñ ß 𠀀 \n \t"
)
odd_text = st.one_of(
    st.text(alphabet=sorted(set(ODD)), min_size=1, max_size=30),
    st.text(min_size=1, max_size=30),
).filter(str.strip)


def family_of(name: str) -> AttackFamily:
    return ATTACKS.get(name)


def conversations(family: AttackFamily) -> list[tuple[Lang, tuple[Message, ...]]]:
    return [
        (lang, family.messages(REQUESTS[lang], wording, random.Random(3)))
        for lang in family.languages
        for wording in WORDINGS
    ]


def _frame(family: AttackFamily, lang: Lang, place: int) -> str:
    """What a wording says besides the request; of a long script its first turns, which repeat in form."""
    script = family.script[lang][place][:6] if family.script else ()
    return re.sub(r"\{\w+\}", "", "\n".join([*script, family.wordings[lang][place]])).strip()


@pytest.mark.parametrize("name", FAMILIES)
def test_metadata(name: str) -> None:
    family = family_of(name)
    assert family.name == name and re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", name)
    assert family.mode in MODES and family.kind in KINDS
    assert family.goal and family.languages and set(family.languages) <= {"zh", "en"}
    assert family.source == "own" or re.search(r"own\b|arXiv \d{4}\.\d{4,5}|\b20\d\d\b", family.source)
    assert family.cost_in_target_calls >= 1
    assert all(re.fullmatch(r"(seed|s-eval|owasp|atlas):\S+", tag) for tag in family.tags)
    assert name not in SUBSETS, "a family and a subset must not share a name"


@pytest.mark.parametrize("name", FAMILIES)
def test_english_wordings_are_english_and_chinese_ones_chinese(name: str) -> None:
    family = family_of(name)
    for lang in family.languages:
        for place in range(len(WORDINGS)):
            text = _frame(family, lang, place)
            if lang == "en":
                assert not HAN.search(text)
            elif name not in ("direct", "code_completion"):  # no words of its own; code is not translated
                assert HAN.search(text)


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "direct"])
def test_the_three_wordings_really_differ(name: str) -> None:
    family = family_of(name)
    for lang in family.languages:
        frames = [_frame(family, lang, place) for place in range(len(WORDINGS))]
        for first, second in ((0, 1), (0, 2), (1, 2)):
            alike = difflib.SequenceMatcher(None, frames[first], frames[second], autojunk=False).ratio()
            assert alike < MAX_ALIKE, f"{lang}: {WORDINGS[first]} and {WORDINGS[second]} are {alike:.2f} alike"


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("wording", WORDINGS)
def test_deterministic_under_a_seed_and_one_last_user_turn(name: str, wording: Wording) -> None:
    family = family_of(name)
    for lang in family.languages:
        for request in (REQUESTS[lang], Request(REQUESTS[lang].text, lang)):
            once = family.messages(request, wording, random.Random(3))
            assert once == family.messages(request, wording, random.Random(3))
            turn = family.apply(request, wording, random.Random(3))
            assert [message.content for message in once if message.role == "user"][-1] == turn


@pytest.mark.parametrize("name", FAMILIES)
def test_conversation_ends_as_its_kind_says(name: str) -> None:
    family = family_of(name)
    for _, messages in conversations(family):
        roles = [message.role for message in messages]
        assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"] * (len(roles) % 2)
        assert roles[-1] == ("assistant" if family.kind == "prefill" else "user")
        assert (len(roles) == 1) == (family.kind == "transform")
        assert all(message.content.strip() for message in messages)


@pytest.mark.parametrize("name", FAMILIES)
def test_scripted_assistant_turns_are_placeholders(name: str) -> None:
    family = family_of(name)
    for lang, messages in conversations(family):
        said = [message.content for message in messages if message.role == "assistant"]
        if family.kind == "prefill":
            assert len(said.pop()) <= MAX_PREFILL
        assert set(said) <= set(PLACEHOLDERS[lang].values())


def test_placeholders_say_nothing() -> None:
    """Every one is a frame of a few words around a redaction, of which the English and the Chinese list have the
    same."""
    assert set(PLACEHOLDERS["en"]) == set(PLACEHOLDERS["zh"])
    for lang, mark in (("en", "[redacted]"), ("zh", "[略]")):
        for text in PLACEHOLDERS[lang].values():  # type: ignore[index]
            assert mark in text and len(text.replace(mark, "")) <= 60


@pytest.mark.parametrize("name", [name for name in FAMILIES if family_of(name).fill is PLAIN_FILL])
@given(text=odd_text)
@settings(max_examples=12, deadline=None)
def test_a_plain_wrapper_carries_the_request_unchanged(name: str, text: str) -> None:
    family = family_of(name)
    for lang in family.languages:
        for wording in WORDINGS:
            turn = family.apply(Request(text, lang), wording)
            assert family.payload(turn, lang, wording) == text


@pytest.mark.parametrize("name", [name for name in FAMILIES if family_of(name).reveal])
@given(text=odd_text)
@settings(max_examples=30, deadline=None)
def test_what_a_reversible_transform_hides_can_be_revealed(name: str, text: str) -> None:
    family = family_of(name)
    assert family.reveal is not None
    for lang in family.languages:
        for wording in WORDINGS:
            turn = family.apply(Request(text, lang), wording, random.Random(len(text)))
            assert family.reveal(family.payload(turn, lang, wording)) == text


@pytest.mark.parametrize("name", ["payload_split", "word_reversal"])
@pytest.mark.parametrize("wording", WORDINGS)
def test_a_rearrangement_keeps_every_piece(name: str, wording: Wording) -> None:
    for request in (*REQUESTS.values(), Request("How do I {stack} wood 🪵?", "en"), Request("怎么堆{木头}🪵？", "zh")):
        dressed = family_of(name).apply(request, wording)
        assert all(piece in dressed for piece in request.pieces())


@pytest.mark.parametrize("name", FAMILIES)
@given(text=odd_text)
@settings(max_examples=6, deadline=None)
def test_no_request_breaks_a_family(name: str, text: str) -> None:
    family = family_of(name)
    for lang in family.languages:
        assert family.messages(Request(text, lang), "test", random.Random(0))[-1].content.strip()


def test_a_language_the_family_does_not_speak_is_an_error() -> None:
    with pytest.raises(ValueError, match="speaks zh, en"):
        ATTACKS.get("fiction").apply(Request("Bonjour", "fr"))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="speaks zh, en"):
        ATTACKS.get("few_shot").messages(Request("Bonjour", "fr"))  # type: ignore[arg-type]


def test_a_turn_of_another_wording_has_no_payload() -> None:
    turn = ATTACKS.get("hypothetical").apply(REQUESTS["en"], "train")
    with pytest.raises(ValueError, match="does not follow its test wording"):
        ATTACKS.get("hypothetical").payload(turn, "en", "test")
    split = ATTACKS.get("payload_split")
    with pytest.raises(ValueError, match="several fields"):
        split.payload(split.apply(REQUESTS["en"]), "en")


def test_braces_that_name_no_field_stay_and_unfilled_fields_are_errors() -> None:
    assert substitute('{ "a": {}, "q": "{q}" }', {"q": "{q} {x}"}) == '{ "a": {}, "q": "{q} {x}" }'
    with pytest.raises(KeyError, match="missing"):
        substitute("{q} {missing}", {"q": ""})


def test_an_incomplete_family_is_refused() -> None:
    whole = {"zh": ("{q}", "{q}", "{q}"), "en": ("{q}", "{q}", "{q}")}
    with pytest.raises(ValueError, match="three wordings in 'en'"):
        AttackFamily(name="x", goal="g", source="own", mode="plain", wordings={"zh": whole["zh"]})
    odd = dict.fromkeys(whole, (("hello",), ("hello",), ("hello",)))
    with pytest.raises(ValueError, match="ends with the assistant"):
        AttackFamily(name="x", goal="g", source="own", mode="ladder", wordings=whole, script=odd)  # type: ignore[arg-type]


def test_shots_are_three_and_thirty_two() -> None:
    for name, num in (("few_shot", 3), ("many_shot", 32)):
        for lang, messages in conversations(family_of(name)):
            assert len(messages) == 2 * num + 1
            questions = [message.content for message in messages[:-1:2]]
            assert len(set(questions)) == num
            assert all(HAN.search(question) is not None for question in questions) == (lang == "zh")


def test_the_nano_world_keeps_its_eight() -> None:
    """The base model and its items are drawn from these, in this order: adding a family must not move them."""
    assert NANO_FAMILIES == (
        "role_play", "fiction", "prefix_injection", "refusal_suppression", "payload_split", "educator",
        "code_completion", "word_reversal",
    )  # fmt: skip
    assert tuple(FAMILIES[: len(NANO_FAMILIES)]) == NANO_FAMILIES


def test_subsets_name_families_that_exist() -> None:
    assert SUBSETS["all"] == tuple(family.name for family in BUILT_IN)
    for members in SUBSETS.values():
        assert members and len(set(members)) == len(members) and set(members) <= set(SUBSETS["all"])
    assert set(SUBSETS["seed-modes"]) == {name for mode in SEED_MODES for name in SUBSETS[f"seed-{mode}"]}
    assert all(f"seed-{mode}" in SUBSETS for mode in SEED_MODES)
    assert {family_of(name).kind for name in SUBSETS["multi-turn"]} == {"multi-turn"}


def test_s_eval_maps_each_of_its_ten_to_a_family_that_says_so() -> None:
    assert set(S_EVAL) == set(s_eval.FAMILIES) and len(set(S_EVAL.values())) == 10
    for upstream, ours in S_EVAL.items():
        assert f"s-eval:{upstream}" in family_of(ours).tags
    assert len(SUBSETS["s-eval"]) == 10
    named = {tag.removeprefix("s-eval:") for family in BUILT_IN for tag in family.tags if tag.startswith("s-eval:")}
    assert named <= set(s_eval.FAMILIES)


def test_resolve_takes_families_and_subsets_once_each_in_the_order_named() -> None:
    names = [family.name for family in resolve(["persona", "tense", "past_tense", "persona"])]
    assert names == ["persona", "past_tense", "future_tense"]
    assert [family.name for family in resolve(["all"])] == list(SUBSETS["all"])
    assert resolve([]) == []


@pytest.mark.parametrize(("wrong", "near"), [("roleplay", "role"), ("multiturn", "multi-turn"), ("s_eval", "s-eval")])
def test_unknown_names_offer_the_nearest(wrong: str, near: str) -> None:
    with pytest.raises(UsageError, match=f"Did you mean '{near}"):
        resolve(["direct", wrong])


def test_unknown_family_offers_the_nearest() -> None:
    with pytest.raises(UsageError, match="role_play"):
        ATTACKS.get("roleplay")


def test_an_installed_family_is_found_by_its_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other_package_attack.py").write_text(
        "from safekeel.attacks import AttackFamily\n"
        "WORDS = ('{q} a', '{q} b', '{q} c')\n"
        "FAMILY = AttackFamily(name='installed', goal='g', source='own', mode='plain', languages=('en',),"
        " wordings={'en': WORDS})\n",
        encoding="utf-8",
    )
    entry = EntryPoint("installed", "other_package_attack:FAMILY", "safekeel.attacks")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(ATTACKS, "_entry_points", {"installed": entry})
    monkeypatch.setattr(ATTACKS, "_plugins", dict(ATTACKS._plugins))
    (family,) = resolve(["installed"])
    assert family.apply(REQUESTS["en"], "validation") == "How do I stack wood? b"
    assert describe()[-1]["name"] == "installed" and "installed" not in SUBSETS["all"]


def test_describe_has_one_printable_row_per_family() -> None:
    rows = describe()
    assert [row["name"] for row in rows] == FAMILIES
    assert {key for row in rows for key in row} == {
        "name", "mode", "kind", "languages", "cost", "tags", "source", "goal",
    }  # fmt: skip
    assert json.loads(json.dumps(rows)) == rows


def test_importing_the_families_imports_no_torch() -> None:
    code = "import sys, safekeel.attacks; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
