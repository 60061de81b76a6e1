"""Reading upstream formats: what they really look like, and messages that name file and row."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safekeel.bench.safety.readers import (
    GB18030,
    Cells,
    read_csv,
    read_headerless_csv,
    read_json,
    read_jsonl,
    read_zip_jsonl,
)
from safekeel.errors import DataError
from tests.upstream_formats import write, write_zip


def values(rows: list[Cells]) -> list[dict]:
    return [row.values for row in rows]


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv_with_any_line_end_and_byte_order_mark(tmp_path: Path, mark: str, end: str) -> None:
    path = write(tmp_path, "a.csv", f'{mark},text{end}0,"one, ""two""{end}more"{end}1,三{end}')
    assert values(read_csv(path, ("", "text"))) == [{"": "0", "text": f'one, "two"{end}more'}, {"": "1", "text": "三"}]
    assert read_csv(path, ("text",))[1].where == f"{path}: row 3"


def test_gb18030_is_read_when_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "ID,问题\n1,你好\n", "gb18030")
    assert read_csv(path, ("问题",), GB18030)[0].text("问题") == "你好"
    with pytest.raises(DataError, match=r"a\.csv: not UTF-8 \(byte 3\)"):
        read_csv(path, ("问题",))


def test_headerless_csv_loses_no_row_and_drops_only_empty_cells(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "\ufeffone,\ntwo,\n")
    assert values(read_headerless_csv(path, ("text",))) == [{"text": "one"}, {"text": "two"}]
    full = write(tmp_path, "b.csv", "one\ntwo,more\n")
    with pytest.raises(DataError, match="row 2 has 2 cells, expected 1"):
        read_headerless_csv(full, ("text",))


def test_json_lines_end_at_line_feeds_only(tmp_path: Path) -> None:
    rows = [{"a": "x\u2028y"}, {"a": "z\x85"}]
    path = write(tmp_path, "a.jsonl", "\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n\n")
    assert values(read_jsonl(path)) == rows


def test_zip_reads_the_one_file_and_not_what_macos_added(tmp_path: Path) -> None:
    path = write_zip(tmp_path, "a.zip", "a.jsonl", '{"a": 1}\n')
    assert values(read_zip_jsonl(path)) == [{"a": 1}]
    with pytest.raises(DataError, match=r"holds 0 \.jsonl files, expected one"):
        read_zip_jsonl(write_zip(tmp_path, "b.zip", "b.txt", "x"))


def test_json_items_are_picked(tmp_path: Path) -> None:
    path = write(tmp_path, "a.json", '{"instructions": ["x", "y"], "inputs": []}')
    rows = read_json(path, lambda data: [{"text": text} for text in data["instructions"]])
    assert [(row.text("text"), row.where) for row in rows] == [("x", f"{path}: item 1"), ("y", f"{path}: item 2")]


def csv_of(path: Path) -> list[Cells]:
    return read_csv(path, ("id", "prompt"))


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (csv_of, "", "the file is empty"),
        (csv_of, "id,prompt\n", "holds no row"),
        (csv_of, "id,text\n1,x\n", "row 1 has the columns 'id', 'text', expected also 'prompt'"),
        (csv_of, "id,prompt\n1,x\n2\n", "row 3 has 1 cells, expected 2"),
        (csv_of, 'id,prompt\n1,"x\n', "no CSV"),
        (read_jsonl, "\n\n", "the file is empty"),
        (read_jsonl, '{"a": 1}\n{"a": \n', "line 2 is no JSON"),
        (read_jsonl, '{"a": 1}\n[1]\n', "row 2 is a list, expected an object"),
        (read_json, "{", "not JSON"),
        (read_json, "[]", "holds no item"),
        (read_json, "3", "not the structure of this benchmark"),
        (read_json, '["x"]', "item 1 is a str, expected an object"),
        (read_zip_jsonl, "no archive", "no zip archive"),
    ],
)
def test_bad_files_are_errors_that_name_the_place(
    tmp_path: Path, read: Callable[[Path], list[Cells]], text: str, message: str
) -> None:
    path = write(tmp_path, "bad.file", text)
    with pytest.raises(DataError, match=f"bad.file: {message}.*safekeel data check"):
        read(path)


def test_missing_and_empty_values_name_row_and_column_but_show_no_text(tmp_path: Path) -> None:
    row = csv_of(write(tmp_path, "a.csv", "id,prompt\n7,  \n"))[0]
    with pytest.raises(DataError, match=r"a\.csv: row 2: 'prompt' is missing or empty"):
        row.text("prompt")
    with pytest.raises(DataError, match="'answer' is missing or empty"):
        row.text("answer")
    assert row.optional("answer") == ""


TEXT = st.text(st.characters(codec="utf-8"), min_size=1).filter(lambda text: text.strip() and "\0" not in text)


@given(rows=st.lists(TEXT, min_size=1, max_size=6))
def test_csv_round_trip(tmp_path_factory: pytest.TempPathFactory, rows: list[str]) -> None:
    quoted = "\ufeff" + "".join('"{}"\r\n'.format(row.replace('"', '""')) for row in rows)
    path = write(tmp_path_factory.mktemp("csv"), "a.csv", quoted)
    assert [row.values["t"] for row in read_headerless_csv(path, ("t",))] == rows
