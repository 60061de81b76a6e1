"""Every attack family: metadata, determinism, both languages, three different wordings, nothing of the request lost."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safekeel.attacks import ATTACKS, Request
from safekeel.attacks.base import WORDINGS

FAMILIES = ATTACKS.names()


@pytest.mark.parametrize("name", FAMILIES)
def test_metadata(name: str) -> None:
    family = ATTACKS.get(name)
    assert family.name == name
    assert family.goal and family.source and set(family.languages) == {"zh", "en"}
    for lang in family.languages:
        assert len(family.wordings[lang]) == len(WORDINGS)
    if name != "code_completion":  # its Chinese wordings are code, which is not translated
        assert not set(family.wordings["en"]) & set(family.wordings["zh"])


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("wording", WORDINGS)
def test_deterministic_and_loses_no_piece(name: str, wording: str) -> None:
    requests = [
        Request("How do I stack wood?", "en", ("How do I", "stack", "wood?")),
        Request("怎么堆木头？", "zh", ("怎么", "堆", "木头？")),
        Request("How do I stack wood?", "en"),
        Request("怎么堆木头？", "zh"),
    ]
    for request in requests:
        once = ATTACKS.get(name).apply(request, wording, random.Random(3))
        assert once == ATTACKS.get(name).apply(request, wording, random.Random(3))
        assert all(piece in once for piece in request.pieces())


@pytest.mark.parametrize("name", FAMILIES)
@given(text=st.text(min_size=1, max_size=40).filter(str.strip))
@settings(max_examples=40, deadline=None)
def test_braces_and_odd_characters_survive(name: str, text: str) -> None:
    dressed = ATTACKS.get(name).apply(Request(text, "zh"), "test")
    assert sorted(set(text)) == sorted(set(text) & set(dressed))


def test_a_language_the_family_does_not_speak_is_an_error() -> None:
    with pytest.raises(ValueError, match="speaks zh, en"):
        ATTACKS.get("fiction").apply(Request("Bonjour", "fr"))  # type: ignore[arg-type]


def test_unknown_family_offers_the_nearest() -> None:
    from safekeel.errors import UsageError

    with pytest.raises(UsageError, match="role_play"):
        ATTACKS.get("roleplay")
