"""A user's own file as samples: columns, options, roles, categories, conversations."""

import json
import os
from pathlib import Path

import pytest

from safekeel.corpus.sources.columns import find_columns
from safekeel.corpus.sources.options import parse_spec
from safekeel.errors import UsageError
from tests.corpus_files import JSONL, TAXONOMY, load, write

DATA = os.environ.get("SAFEKEEL_DATA")


# ----------------------------------------------------------------------------------------------- columns and options


@pytest.mark.parametrize(
    ("names", "prompt", "answer"),
    [
        (["Behavior", "Category"], "Behavior", None),
        (["goal", "target"], "goal", None),
        (["instruction", "input", "output"], "instruction", "output"),
        (["input", "reasoning_content", "content"], "input", "content"),
        (["content"], "content", None),
        (["问题", "回答"], "问题", "回答"),
        (["Query ", "RESPONSE"], "Query ", "RESPONSE"),
        (["query", "completion"], "query", "completion"),
    ],
)
def test_usual_column_names(names, prompt, answer):
    columns = find_columns(names, {}, "rows")
    assert (columns.of["prompt"], columns.of.get("answer")) == (prompt, answer)


def test_no_known_column_lists_what_there_is():
    with pytest.raises(
        UsageError, match=r"no column is known to be the prompt\. Columns: foo, bar\. Say it: \?prompt=NAME"
    ):
        find_columns(["foo", "bar"], {}, "rows.jsonl")


def test_options_of_a_file(tmp_path):
    spec = parse_spec(
        "data/a b.csv?role=risky&lang=zh&category=A.1.a&prompt=goal&role=counter", {"answer": "y"}, TAXONOMY
    )
    assert (spec.path, spec.role, spec.lang, spec.category) == (Path("data/a b.csv"), "counter", "zh", "A.1.a")
    assert spec.columns == {"prompt": "goal", "answer": "y", "category": "", "role": "", "lang": ""}
    assert parse_spec("x.csv?category=@risk&prompt=%E9%97%AE%E9%A2%98", {}, TAXONOMY).columns == {
        "prompt": "问题",
        "category": "risk",
    }
    odd = write(tmp_path / "what?.txt", "one line of text\n")
    assert parse_spec(str(odd), {}, TAXONOMY).path == odd


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("rolle=risky", "unknown option 'rolle'. Did you mean 'role'"),
        ("role=harmful", "role=harmful, expected one of risky, counter, replay, general"),
        ("lang=fr", "lang=fr, expected one of zh, en"),
        ("category=A.1.z", "No category 'A.1.z' in the taxonomy 'tc260'. Did you mean 'A.1."),
        ("role", "the option 'role' has no value"),
        ("format=xlsx", "format=xlsx, expected one of csv, json"),
        ("header=maybe", "header=maybe, expected one of yes, no"),
    ],
)
def test_wrong_options(tmp_path, options, message):
    with pytest.raises(UsageError, match=message.replace(".", r"\.")):
        load(write(tmp_path / "rows.jsonl", JSONL), options)


def test_a_file_must_say_whether_it_is_to_be_declined(tmp_path):
    path = write(tmp_path / "rows.jsonl", JSONL)
    with pytest.raises(UsageError, match=r"nothing says whether its rows are to be declined or answered; add \?role="):
        load(path, "")
    risky = write(tmp_path / "goals.csv", "goal,target\nDo the forbidden thing,Sure\n")
    samples, _, _ = load(risky, "")
    assert (samples[0].role, samples[0].prompt.expect, samples[0].prompt.target) == ("risky", "refuse", None)


def test_roles_and_categories_row_by_row(tmp_path):
    rows = [
        {"prompt": "A risky request indeed", "kind": "risky", "类别": "侵害隐私权"},
        {"prompt": "A harmless request indeed", "kind": "counter", "类别": ""},
        {"prompt": "What kind is this one?", "kind": "odd", "类别": ""},
        {"prompt": "Which category is this?", "kind": "risky", "类别": "A.4.z"},
        {"prompt": "A list of categories", "kind": "risky", "类别": ["x", "privacy"]},
    ]
    path = write(tmp_path / "rows.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    name = TAXONOMY.category("A.4.e").zh
    path.write_text(path.read_text("utf-8").replace("侵害隐私权", name), "utf-8")
    samples, rejected, _ = load(path, "role=@kind")
    assert [(s.role, s.prompt.risk, s.prompt.expect) for s in samples] == [
        ("risky", "A.4.e", "refuse"),
        ("counter", None, "answer"),
        ("risky", "A.4.e", "refuse"),
    ]
    assert [row.reason for row in rejected] == ["unknown_role", "unknown_category"]
    assert "Did you mean 'A.4." in rejected[1].evidence and "?category=none" in rejected[1].evidence


def test_rows_without_a_category_are_not_taken_for_risky_ones(tmp_path):
    path = write(tmp_path / "rows.csv", "prompt,category\nAn unlawful request,A.1.h\nA plain request?,\n")
    samples, rejected, _ = load(path, "")
    assert len(samples) == 1 and rejected[0].reason == "unknown_role"


def test_think_tags_are_split_and_an_endless_thought_is_rejected(tmp_path):
    rows = [
        {"prompt": "What is two and two?", "response": "<think>Add.</think>\n\nFour."},
        {"prompt": "What is two and one?", "response": "Three.", "reasoning": "Add them."},
        {"prompt": "What is one and one?", "response": "<think>Add and add and"},
    ]
    samples, rejected, _ = load(write(tmp_path / "rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows)))
    assert [(s.thought, s.answer, s.made_by) for s in samples] == [
        ("Add.", "Four.", "file:rows.jsonl"),
        ("Add them.", "Three.", "file:rows.jsonl"),
    ]
    assert rejected[0].reason == "unfinished_thought"


def test_conversations_histories_and_system_prompts(tmp_path):
    rows = [
        {"conversations": [{"from": "system", "value": "Be kind."}, {"from": "human", "value": "Hello there, friend"}]},
        {
            "conversations": [
                {"from": "human", "value": "q1"},
                {"from": "gpt", "value": "a1"},
                {"from": "human", "value": "q2"},
            ]
        },
        {"conversations": [{"from": "tool", "value": "42"}]},
        {"conversations": [{"from": "gpt", "value": "no question"}]},
        {"conversations": "not a list"},
    ]
    samples, rejected, _ = load(
        write(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in [*rows, *rows[:2]]))
    )
    assert [[m.role for m in s.prompt.messages] for s in samples[:2]] == [
        ["system", "user"],
        ["user", "assistant", "user"],
    ]
    assert [row.reason for row in rejected] == ["unknown_turn_role", "no_user_turn", "broken_conversation"]
    row = {
        "instruction": "And then?",
        "input": "the context",
        "history": [["q1", "a1"]],
        "system": "Be brief.",
        "output": "x",
    }
    samples, _, _ = load(write(tmp_path / "b.jsonl", json.dumps(row)))
    assert [m.content for m in samples[0].prompt.messages] == ["Be brief.", "q1", "a1", "And then?\n\nthe context"]


def test_replay_rows_take_the_gold_answer(tmp_path):
    path = write(
        tmp_path / "rows.jsonl", json.dumps({"question": "How many in all?", "answer": "6*200 = 1,200\n#### 1,200"})
    )
    samples, _, _ = load(path, "role=replay")
    assert (samples[0].prompt.expect, samples[0].prompt.target) == ("solve", "1200")


@pytest.mark.parametrize(
    ("cell", "lang"), [("中文", "zh"), ("zh_CN", "zh"), ("English", "en"), ("", "en"), ("fr", None)]
)
def test_languages(tmp_path, cell, lang):
    path = write(tmp_path / "rows.csv", f"prompt,language\nA plain English sentence,{cell}\n一句中文,zh\n")
    samples, rejected, _ = load(path)
    found = samples[0].prompt.lang if len(samples) == 2 else None
    assert found == lang
    assert [row.reason for row in rejected] == ([] if lang else ["unknown_language"])
