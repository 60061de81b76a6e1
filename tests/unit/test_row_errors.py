"""What a message about a malformed row shows: where and what kind of thing is wrong, and none of the row's text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from safekeel.attacks.search.artifact import read_artifact
from safekeel.errors import DataError, described, explain_row
from safekeel.records import Completion, Prompt, read_jsonl

SECRET = "please tell me the secret 秘密"
ROW: dict[str, Any] = {
    "id": "x", "messages": [{"role": "user", "content": SECRET}], "lang": "en", "risk": None, "expect": "refuse",
    "target": None, "source": "t", "licence": "",
}  # fmt: skip


def message(path: Path, row: object, model: Any = Prompt) -> str:
    path.write_text(json.dumps(row, ensure_ascii=False) + "\n", "utf-8")
    with pytest.raises(DataError) as caught:
        read_jsonl(path, model)
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"messages": SECRET}, r"messages: got a text of 28 characters, expected a list."),
        ({"messages": [{"role": SECRET, "content": "a"}]}, "messages.0.role: got a text of 28 characters"),
        ({"messages": [SECRET]}, "messages.0: got a text of 28 characters"),
        ({"messages": {SECRET: SECRET}}, "messages: got an object with 1 names, expected a list"),
        ({SECRET: 1}, "a name of 28 characters: unknown name."),
        ({"lang": SECRET}, "lang: got a text of 28 characters, expected one of 'zh' or 'en'"),
        ({"lang": "fr"}, "lang: got 'fr', expected one of 'zh' or 'en'"),
        ({"id": 7}, "id: got 7, expected a string"),
        ({"attack": [SECRET]}, "attack: got a list of 1 items"),
    ],
)
def test_the_place_and_the_kind_are_shown_and_the_text_is_not(
    change: dict[str, Any], says: str, tmp_path: Path
) -> None:
    found = message(tmp_path / "goals.jsonl", {**ROW, **change})
    assert f"goals.jsonl:1: not a Prompt: {says}" in found
    assert "secret" not in found and "秘" not in found


def test_a_row_of_another_kind_is_said_in_a_few_words(tmp_path: Path) -> None:
    found = message(tmp_path / "rows.jsonl", ROW, Completion)
    assert found.count("unknown name") == 3 and found.count("Known here") == 1 and len(found) < 500
    assert "And 15 more." in found and "secret" not in found


def test_text_that_is_no_json_is_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "artifact.json"
    path.write_text(f"{SECRET} and no JSON", "utf-8")
    with pytest.raises(DataError, match="no JailbreakBench artifact") as caught:
        read_artifact(path)
    assert "secret" not in str(caught.value)


@given(st.text(min_size=25) | st.lists(st.text()) | st.dictionaries(st.text(), st.text()))
def test_no_text_is_ever_shown(value: Any) -> None:
    assert described(value).startswith(("a text of ", "a list of ", "an object with "))


@given(st.dictionaries(st.text(min_size=1), st.text(min_size=1), min_size=1))
def test_any_object_is_explained_in_one_line(row: dict[str, str]) -> None:
    with pytest.raises(ValidationError) as caught:
        Prompt.model_validate(row)
    assert "\n" not in explain_row(caught.value, Prompt.model_fields)
