"""Rows survive the disk unchanged, a killed file can be continued, and what is wrong is named with file and line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from safekeel.errors import DataError
from safekeel.records import (
    ANSWER_LABELS,
    CANNOT_JUDGE,
    GRADE_LABELS,
    THOUGHT_LABELS,
    Attack,
    Completion,
    Message,
    Prompt,
    Record,
    Score,
    Verdict,
    append_jsonl,
    read_jsonl,
    recover_jsonl,
    write_jsonl,
)

HARD_TEXT = "他说：\u2028“不行”\u2029\x85\r\n<think>\t\x00\ufeff😀"
TEXT = st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.just(HARD_TEXT))
NAME = TEXT.filter(bool)
FRACTION = st.none() | st.floats(allow_nan=False, allow_infinity=False)
COUNT = st.integers(0, 2**40)
JSON_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
META = st.dictionaries(TEXT, JSON_VALUE, max_size=3)

PROMPTS = st.builds(
    Prompt,
    id=NAME,
    messages=st.lists(
        st.builds(Message, role=st.sampled_from(["system", "user"]), content=TEXT), min_size=1, max_size=3
    ),
    lang=st.sampled_from(["zh", "en"]),
    risk=st.none() | NAME,
    expect=st.sampled_from(["refuse", "answer", "either", "choose", "solve"]),
    target=st.none() | TEXT,
    source=TEXT,
    licence=TEXT,
    attack=st.none() | st.builds(Attack, name=NAME, params=META, parent_id=st.none() | TEXT),
    meta=META,
)
COMPLETIONS = st.builds(
    Completion,
    prompt_id=NAME,
    sample=COUNT,
    model=TEXT,
    raw=TEXT,
    thought=st.none() | TEXT,
    answer=TEXT,
    split=st.sampled_from(["closed", "prefilled", "none", "multiple"]),
    finish=st.sampled_from(["stop", "length"]),
    num_prompt_tokens=COUNT,
    num_completion_tokens=COUNT,
    seconds=st.floats(0, 1e9),
)
VERDICTS = st.builds(
    Verdict,
    prompt_id=NAME,
    sample=COUNT,
    part=st.just("answer"),
    label=st.sampled_from(ANSWER_LABELS + GRADE_LABELS),
    judge=TEXT,
    judge_version=TEXT,
    confidence=st.none() | st.floats(0, 1),
    reason=TEXT,
)
SCORES = st.builds(
    Score,
    model=TEXT,
    benchmark=NAME,
    metric=NAME,
    slice=NAME,
    value=FRACTION,
    low=FRACTION,
    high=FRACTION,
    bound_low=FRACTION,
    bound_high=FRACTION,
    num_items=COUNT,
    num_truncated=COUNT,
    num_unscored=COUNT,
    method=TEXT,
    judge=st.none() | TEXT,
    label_source=st.sampled_from(["human", "model", "construction", None]),
    headline=st.booleans(),
)
on_disk = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def completion(**changes: object) -> Completion:
    row = {
        "prompt_id": "p", "model": "m", "raw": "r", "thought": "t", "answer": "a", "split": "closed", "finish": "stop",
        "num_prompt_tokens": 1, "num_completion_tokens": 1, "seconds": 0.1,
    }  # fmt: skip
    return Completion(**(row | changes))


def verdict(**changes: object) -> Verdict:
    row = {"prompt_id": "p", "sample": 0, "part": "answer", "label": "refusal", "judge": "j", "judge_version": "1"}
    return Verdict(**(row | changes))


@on_disk
@given(rows=st.lists(PROMPTS | COMPLETIONS | VERDICTS | SCORES, max_size=4))
def test_rows_come_back_as_they_were_written(tmp_path: Path, rows: list[Record]) -> None:
    for kind in (Prompt, Completion, Verdict, Score):
        chosen = [row for row in rows if isinstance(row, kind)]
        written, appended = tmp_path / "written.jsonl", tmp_path / "appended.jsonl"
        write_jsonl(written, chosen)
        appended.write_bytes(b"")
        for row in chosen:
            append_jsonl(appended, row)
        assert read_jsonl(written, kind) == read_jsonl(appended, kind) == chosen
        assert written.read_bytes() == appended.read_bytes()
        assert written.read_bytes().count(b"\n") == len(chosen)


@on_disk
@given(rows=st.lists(COMPLETIONS, min_size=1, max_size=3), data=st.data())
def test_a_file_cut_at_any_byte_is_continued(tmp_path: Path, rows: list[Completion], data: st.DataObject) -> None:
    path = tmp_path / "completions.jsonl"
    write_jsonl(path, rows)
    content = path.read_bytes()
    cut = data.draw(st.integers(0, len(content)), label="cut")
    path.write_bytes(content[:cut])
    whole = content[:cut].count(b"\n")
    assert recover_jsonl(path, Completion) == rows[:whole]
    for row in rows[whole:]:
        append_jsonl(path, row)
    assert path.read_bytes() == content


def test_every_cut_of_a_file_is_recovered(tmp_path: Path) -> None:
    rows, path = [completion(prompt_id="一", answer=HARD_TEXT), completion(prompt_id="二")], tmp_path / "c.jsonl"
    write_jsonl(path, rows)
    content = path.read_bytes()
    for cut in range(len(content) + 1):
        path.write_bytes(content[:cut])
        found = recover_jsonl(path, Completion)
        assert found == rows[: content[:cut].count(b"\n")]
        assert read_jsonl(path, Completion) == found


def test_recovery_only_forgives_the_last_line(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    good = completion().model_dump_json()
    path.write_text(f'{good}\n{{"prompt_id": \n{good}\n{good[:10]}')
    before = path.read_bytes()
    with pytest.raises(DataError, match=r"c\.jsonl:2: malformed JSON"):
        recover_jsonl(path, Completion)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b'{"role":"user","content":"a"}\n{"role":"user","content":"a","contents":"b"}\n',
            r":2: .*contents: unknown name",
        ),
        (b'{"role":"user","contnet":"a"}\n', r":1: .*Did you mean 'content'"),
        (b'\n{"role":"robot","content":"a"}\n', r":2: .*got 'robot', expected one of 'system', 'user' or 'assistant'"),
        (b'{"role":"user","content":7}\n', r":1: .*content: got 7, expected a string"),
        (b"[1, 2]\n", r":1: not a Message"),
        (b"{'role': 'user'}\n", r":1: malformed JSON"),
        (b'{"role":"user","content":"\xff"}\n', r":1: not UTF-8 \(byte 26"),
        (b'{"role":"user","content":"a"}\n{"role":"us', r":2: the last line is half written"),
        (b'{"role":"user","content":"\xe4\xbd', r":1: the last line is half written"),
    ],
)
def test_a_bad_row_is_named_with_file_and_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"rows\.jsonl" + message):
        read_jsonl(path, Message)


def test_a_last_line_without_newline_is_a_row_if_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "by-hand.jsonl"
    path.write_bytes(b'{"role":"user","content":"a"}\r\n\n{"role":"user","content":"b"}')
    assert [row.content for row in read_jsonl(path, Message)] == ["a", "b"]


def test_a_missing_file_and_a_folder_are_data_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.jsonl does not exist; run the stage"):
        read_jsonl(tmp_path / "absent.jsonl", Message)
    with pytest.raises(DataError, match="is a folder, expected a JSONL file"):
        read_jsonl(tmp_path, Message)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    write_jsonl(path, [completion()])
    before = path.read_bytes()

    def rows():
        yield completion(prompt_id="new")
        raise RuntimeError("the judge broke")

    with pytest.raises(RuntimeError, match="the judge broke"):
        write_jsonl(path, rows())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_short_write_is_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    path = tmp_path / "c.jsonl"
    append_jsonl(path, completion())
    before, real_write = path.read_bytes(), os.write
    monkeypatch.setattr(os, "write", lambda descriptor, line: real_write(descriptor, line[:7]))
    with pytest.raises(OSError, match="wrote 7 of"):
        append_jsonl(path, completion())
    assert path.read_bytes() == before


def test_half_a_surrogate_pair_becomes_a_replacement_character(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    row = completion(raw=json.loads(r'"\ud83d\ude00 \ud800"'), answer="\udc00")
    append_jsonl(path, row)
    assert read_jsonl(path, Completion) == [row]
    assert (row.raw, row.answer) == ("😀 \ufffd", "\ufffd")


@pytest.mark.parametrize("label", [*ANSWER_LABELS, *GRADE_LABELS])
def test_answer_labels(label: str) -> None:
    assert verdict(label=label).label == label
    if label not in THOUGHT_LABELS:
        with pytest.raises(ValidationError, match="expected one of aware, unaware"):
            verdict(part="thought", label=label)


@pytest.mark.parametrize("label", THOUGHT_LABELS)
def test_thought_labels(label: str) -> None:
    assert verdict(part="thought", label=label).label == label


@pytest.mark.parametrize("changes", [{"label": CANNOT_JUDGE}, {"unscored": True}, {"label": "safe"}, {"label": ""}])
def test_no_side_is_ever_the_default(changes: dict) -> None:
    assert verdict(label=CANNOT_JUDGE, unscored=True).unscored
    with pytest.raises(ValidationError):
        verdict(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"split": "truncated", "answer": "text of the thought"},
        {"finish": "error"},
        {"num_completion_tokens": -1},
        {"seconds": float("nan")},
        {"prompt_id": ""},
    ],
)
def test_impossible_completions_are_refused(changes: dict) -> None:
    assert completion(split="truncated", answer="", finish="error", error="reset").error == "reset"
    with pytest.raises(ValidationError):
        completion(**changes)


def test_free_form_fields_hold_json_only() -> None:
    assert Attack(name="a", params={"pieces": ("x", ("y",))}).params == {"pieces": ["x", ["y"]]}
    for bad in ({"x": {1, 2}}, {"x": float("inf")}, {"x": Path()}, {"x": {1: "a"}}):
        with pytest.raises(ValidationError):
            Attack(name="a", params=bad)


def test_records_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        completion().answer = "changed"  # type: ignore[misc]
