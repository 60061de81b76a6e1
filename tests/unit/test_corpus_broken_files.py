"""A user's own file that is broken, or has no header: nothing lost, and a clear word about what is wrong."""

import csv
import json
import os
from pathlib import Path

import pytest

from safekeel.corpus.sample import Rejected, Sample
from safekeel.corpus.sources.lines import MAX_ROW_CHARS
from safekeel.corpus.sources.own_files import FileSource
from safekeel.corpus.sources.reading import Reading, read_rows
from safekeel.errors import DataError, UsageError
from tests.corpus_files import JSONL, ROWS, TAXONOMY, load, texts, write

DATA = os.environ.get("SAFEKEEL_DATA")


# ------------------------------------------------------------------------------------------------------- broken rows


def test_a_broken_line_in_the_middle_is_rejected_with_its_place(tmp_path):
    path = write(tmp_path / "rows.jsonl", JSONL + '{"prompt": "half\n[1, 2]\n' + JSONL.replace("number", "nr"))
    samples, rejected, _ = load(path)
    assert len(samples) == 6
    assert [(row.where, row.reason, row.step) for row in rejected] == [
        (f"{path}:4", "broken_line", "source"),
        (f"{path}:5", "broken_row", "source"),
    ]
    assert "expected one object per line" in rejected[0].evidence


def test_more_than_half_broken_is_an_error(tmp_path):
    path = write(tmp_path / "rows.jsonl", JSONL + "no json\n" * 4)
    with pytest.raises(DataError, match=r"4 of 7 rows are broken, expected at most half\. The first: .*rows\.jsonl:4"):
        load(path)
    assert len(load(write(path, JSONL + "no json\n" * 3))[0]) == 3


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.csv", "rows.tsv", "rows.txt"])
@pytest.mark.parametrize("content", [b"", b"\n\n \r\n", b"\xef\xbb\xbf"])
def test_an_empty_file_is_named(tmp_path, name, content):
    with pytest.raises(DataError, match=rf"The source file:{name} is empty: it has no row"):
        load(write(tmp_path / name, content))


def test_all_rows_rejected_is_an_error_with_the_reasons(tmp_path):
    path = write(tmp_path / "rows.csv", "prompt,category\nHow are you today?,A.9.z\nAnd tomorrow then?,A.9.z\n")
    with pytest.raises(DataError, match=r"all 2 rows were rejected \(unknown_category 2\)\. The first: .*rows\.csv:2"):
        load(path, "")


def test_a_row_of_5_megabytes_is_rejected_with_its_size(tmp_path):
    huge = "字" * (5 * 1024 * 1024 // 3)
    for name, content in (
        ("rows.jsonl", JSONL + json.dumps({"prompt": huge}, ensure_ascii=False) + "\n" + JSONL.replace("number", "nr")),
        ("rows.csv", f'prompt,output\nA first question?,"a"\n"{huge}",b\nA third question?,"c"\n'),
        ("rows.txt", f"A first question?\n{huge}\nA third question?\n"),
        ("rows.json", json.dumps([*ROWS, {"prompt": huge}], ensure_ascii=False)),
    ):
        samples, rejected, _ = load(write(tmp_path / name, content))
        assert len(samples) >= 2
        assert [row.reason for row in rejected] == ["row_too_long"]
        assert "bytes, expected at most 1,048,576 characters" in rejected[0].evidence
        size = int(rejected[0].evidence.split()[3].replace(",", ""))
        assert 5_242_000 < size < 5_243_200
        assert len(rejected[0].model_dump_json()) < 1000  # the text itself is not kept


def test_a_cell_over_many_lines_that_is_too_long_is_one_row(tmp_path):
    line = 'x "" ' * 200 + "\n"
    huge = line * (2 * MAX_ROW_CHARS // len(line))
    path = write(tmp_path / "rows.csv", f'prompt,output\n"{huge}","b"\n"What is left of it?",c\n')
    rows = list(read_rows(path, Reading()))
    assert [row.reason if isinstance(row, Rejected) else row.values for row in rows] == [
        "row_too_long",
        {"prompt": "What is left of it?", "output": "c"},
    ]
    assert f"{len(huge) + 7:,} bytes" in rows[0].evidence


def test_a_line_too_long_inside_a_cell_takes_the_whole_cell(tmp_path):
    path = write(tmp_path / "rows.csv", f'prompt\n"first\n{"x" * (MAX_ROW_CHARS + 5)}\nlast"\nWhat is left?\n')
    rows = list(read_rows(path, Reading()))
    assert rows[0].reason == "row_too_long" and rows[1].values == {"prompt": "What is left?"} and len(rows) == 2


@pytest.mark.parametrize("number", [3, 40_000])
def test_a_cell_that_never_ends_is_an_error_and_not_a_lost_file(tmp_path, number):
    lines = "".join(f"Is question {n} fine, or is it not?\n" for n in range(number))
    path = write(tmp_path / "rows.csv", f'prompt\nA good one?\n"An open quote\n{lines}')
    with pytest.raises(DataError, match=r"rows\.csv:3: a quotation mark opens a cell that never ends"):
        load(path)


def test_cells_above_the_csv_modules_limit_are_read_and_the_limit_is_put_back(tmp_path):
    before = csv.field_size_limit()
    long = "word " * 60_000  # 300,000 characters; the module's default is 131,072
    samples, rejected, _ = load(write(tmp_path / "rows.csv", f"prompt\n{long}\n"))
    assert texts(samples) == [long.strip()] and not rejected
    assert csv.field_size_limit() == before


def test_nul_bytes_and_duplicate_ids(tmp_path):
    path = write(
        tmp_path / "rows.csv", b"id,prompt\n1,What is a passport?\n2,broken \0 text here\n1,Which documents?\n"
    )
    samples, rejected, _ = load(path)
    assert texts(samples) == ["What is a passport?"]
    assert [(row.where, row.reason) for row in rejected] == [
        (f"{path}:3", "nul_character"),
        (f"{path}:4", "duplicate_id"),
    ]
    assert "the id 'file:rows.csv/1' occurs before" in rejected[1].evidence


def test_missing_fields(tmp_path):
    rows = [*ROWS, {"output": "an answer to nothing"}, {"prompt": "  ", "output": "x"}, {"prompt": ["a", "list"]}]
    samples, rejected, _ = load(
        write(tmp_path / "rows.jsonl", "".join(json.dumps(row) + "\n" for row in [*rows, *ROWS]))
    )
    assert len(samples) == 6
    assert [row.reason for row in rejected] == ["missing_prompt", "missing_prompt", "no_text"]
    assert rejected[0].evidence == "the prompt is missing or empty; the row has answer"


# ------------------------------------------------------------------------------------------------------- CSV headers


def test_a_headerless_file_loses_no_row_and_says_so(tmp_path):
    lines = [f"Please do thing number {number} for me, thanks" for number in range(5)]
    path = write(tmp_path / "rows.csv", "".join(f'"{line}"\n' for line in lines))
    samples, _, notes = load(path)
    assert texts(samples) == lines
    assert notes[0].endswith("no header, row 1 is a row (1 column)")


@pytest.mark.skipif(not DATA, reason="SAFEKEEL_DATA is not set")
def test_the_headerless_copy_of_advbench_has_all_520_rows():
    path = Path(str(DATA)) / "advbench" / "harmful_behaviors_headerless.csv"
    source = FileSource(f"{path}?role=risky", TAXONOMY, allow_benchmarks=["advbench"])
    assert sum(isinstance(row, Sample) for row in source.rows()) == 520
    with pytest.raises(UsageError, match=r"advbench is for measuring, not for training.*the benchmark advbench"):
        FileSource(f"{path}?role=risky", TAXONOMY)


@pytest.mark.skipif(not DATA, reason="SAFEKEEL_DATA is not set")
def test_jade_in_gb18030_is_read_by_its_chinese_columns():
    path = Path(str(DATA)) / "jade" / "jade_alignment_hard_zh.csv"
    source = FileSource(f"{path}?role=risky&answer=安全有用回答", TAXONOMY, allow_benchmarks=["jade"])
    rows = [row for row in source.rows() if isinstance(row, Sample)]
    assert len(rows) == 150 and all(row.answer and row.prompt.lang == "zh" for row in rows)
    assert source.notes[0].endswith("read as GB18030")
    assert (
        source.notes[1]
        == "prompt = column '问题', answer = column '安全有用回答', id = column 'ID'; not used: 违规回答"
    )


def test_several_unknown_columns_need_a_word(tmp_path):
    path = write(tmp_path / "rows.csv", "Is it raining today?,weather\nWho wrote this book?,books\n")
    with pytest.raises(DataError, match=r"row 1 has 2 cells and none is a known column name.*\?prompt=1 \(1 to 2\)"):
        load(path)
    samples, _, notes = load(path, "role=general&prompt=1")
    assert texts(samples) == ["Is it raining today?", "Who wrote this book?"]
    assert "no header" in notes[0] and "prompt = column '1'; not used: 2" in notes[1]


def test_a_header_by_the_users_word(tmp_path):
    path = write(tmp_path / "rows.csv", "frage,thema\nIs it raining today?,weather\n")
    assert texts(load(path, "role=general&prompt=frage")[0]) == ["Is it raining today?"]
    assert texts(load(path, "role=general&prompt=1&header=no")[0]) == ["frage", "Is it raining today?"]
    with pytest.raises(UsageError, match=r"no column 'fragen' for prompt\. Did you mean 'frage'"):
        load(path, "role=general&prompt=fragen&header=yes")


def test_other_separators_and_broken_rows(tmp_path):
    path = write(tmp_path / "rows.csv", "prompt;output\nWhat, exactly, is it?;That\nOne cell only\nAnd this?;Yes\n")
    samples, rejected, notes = load(path)
    assert texts(samples) == ["What, exactly, is it?", "And this?"]
    assert notes[0].endswith("separated by ';'")
    assert (rejected[0].where, rejected[0].reason) == (f"{path}:3", "broken_row")
    assert rejected[0].evidence == "1 cells, expected 2"


def test_a_quote_that_is_never_closed_names_the_lines_it_took(tmp_path):
    lines = "".join(f"Is question {number} fine?,yes\n" for number in range(6))
    path = write(tmp_path / "rows.csv", f'prompt,output\n{lines}"Open quote,yes\nIs this one lost?,"x" y\n{lines}')
    samples, rejected, _ = load(path)
    assert len(samples) == 12
    assert [row.where for row in rejected] == [f"{path}:8", f"{path}:9"]
    assert "in the row that begins in line 8" in rejected[1].evidence


def test_cells_with_line_breaks_keep_the_place_of_their_row(tmp_path):
    path = write(tmp_path / "rows.csv", 'prompt\n"one\ntwo?"\nWhat is three?\n')
    samples, _, _ = load(path)
    assert [sample.prompt.meta["where"] for sample in samples] == [f"{path}:2", f"{path}:4"]
