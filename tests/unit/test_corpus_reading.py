"""A user's own file, whatever its shape: encodings, containers, JSON."""

import bz2
import gzip
import json
import lzma
import os
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safekeel.corpus.sources.encodings import find_encoding
from safekeel.corpus.sources.streams import parts_of
from safekeel.errors import DataError, UsageError
from tests.corpus_files import JSONL, ROWS, load, texts, write

DATA = os.environ.get("SAFEKEEL_DATA")
ZH = "请问如何办理居住证？需要准备哪些材料，多久可以领取。"


# --------------------------------------------------------------------------------------------------------- encodings


@pytest.mark.parametrize(
    ("encoding", "found"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8-sig"),
        ("utf-16", "utf-16"),
        ("utf-32", "utf-32"),
        ("gb18030", "gb18030"),
        ("gbk", "gb18030"),
    ],
)
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_every_encoding_gives_the_same_rows(tmp_path, encoding, found, ending):
    path = write(
        tmp_path / "rows.csv", f"prompt,回答{ending}{ZH},好的{ending}第二个问题是什么？,嗯{ending}".encode(encoding)
    )
    samples, rejected, notes = load(path)
    assert texts(samples) == [ZH, "第二个问题是什么？"]
    assert [sample.answer for sample in samples] == ["好的", "嗯"]  # one-character answers are read as they are
    assert not rejected
    assert find_encoding(parts_of(path)[0]) == found
    assert any(found.upper() in note for note in notes) or found.startswith("utf-8")


def test_a_big_endian_file_with_a_mark_is_read(tmp_path):
    path = write(tmp_path / "rows.txt", b"\xfe\xff" + ZH.encode("utf-16-be"))
    assert texts(load(path)[0]) == [ZH]


def test_bytes_in_no_encoding_name_the_offset(tmp_path):
    path = write(tmp_path / "rows.txt", "好".encode() + b"ab\xff\xff cd")
    with pytest.raises(DataError, match=r"rows\.txt: not UTF-8 \(byte 5\), not GB18030 \(byte \d+\)"):
        load(path)


def test_the_offset_is_exact_across_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr("safekeel.corpus.sources.encodings.CHUNK_BYTES", 4)
    path = write(tmp_path / "rows.txt", "一二三四五".encode() + b"\xff\xff")
    with pytest.raises(DataError, match=r"not UTF-8 \(byte 15\)"):
        load(path)


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1), st.integers(1, 7))
@settings(max_examples=60, deadline=None)
def test_utf8_is_found_whatever_the_chunks(tmp_path_factory, text, chunk):
    path = write(tmp_path_factory.mktemp("chunks") / "rows.txt", "a" + text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("safekeel.corpus.sources.encodings.CHUNK_BYTES", chunk)
        assert find_encoding(parts_of(path)[0]) == "utf-8"


def test_western_and_taiwanese_text_is_not_taken_for_gb18030(tmp_path):
    big5 = "請問這個問題應該如何解決才好呢我們一起討論臺灣的歷史與文化".encode("big5")
    with pytest.raises(DataError, match=r"no Chinese text as GB18030.*encoding=big5"):
        load(write(tmp_path / "big5.txt", big5))
    samples, _, notes = load(write(tmp_path / "big5.txt", big5), "role=general&encoding=big5")
    assert texts(samples)[0].startswith("請問") and any("BIG5" in note for note in notes)
    with pytest.raises(DataError, match="not UTF-8"):
        load(write(tmp_path / "latin.txt", "El niño comió piñas\n".encode("latin-1")))


def test_utf16_without_a_mark_is_named(tmp_path):
    path = write(tmp_path / "rows.txt", "How do I renew a passport?".encode("utf-16-le"))
    with pytest.raises(DataError, match=r"as in UTF-16, but there is no byte order mark.*\?encoding=utf-16-le"):
        load(path)
    assert texts(load(path, "role=general&encoding=utf-16-le")[0]) == ["How do I renew a passport?"]


def test_an_encoding_that_is_none_or_does_not_fit(tmp_path):
    path = write(tmp_path / "rows.txt", ZH)
    with pytest.raises(UsageError, match="encoding=base64 is no text encoding"):
        load(path, "role=general&encoding=base64")
    with pytest.raises(DataError, match=r"byte \d+ is not ascii"):
        load(path, "role=general&encoding=ascii")


# -------------------------------------------------------------------------------------------------------- containers


@pytest.mark.parametrize("compress", [(".gz", gzip.compress), (".xz", lzma.compress), (".bz2", bz2.compress)])
def test_compressed_files(tmp_path, compress):
    ending, function = compress
    samples, _, _ = load(write(tmp_path / f"rows.jsonl{ending}", function(JSONL.encode())))
    assert texts(samples) == [row["prompt"] for row in ROWS]


def test_a_zip_archive_gives_its_data_files_and_not_what_macos_adds(tmp_path):
    path = tmp_path / "dump.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/one.jsonl", JSONL)
        archive.writestr("__MACOSX/a/._one.jsonl", b"\x00\x05\x16\x07")
        archive.writestr("a/readme.md", "no data")
        archive.writestr("two.csv", "prompt\nWhat about this one?\n")
    samples, _, _ = load(path)
    assert len(samples) == 4
    assert samples[0].id == "file:dump.zip/a/one.jsonl:1"
    assert samples[3].prompt.meta["where"] == f"{path}!two.csv:2"


def test_damaged_archives_are_named(tmp_path):
    cut = gzip.compress(JSONL.encode())[:-12]
    with pytest.raises(DataError, match=r"rows\.jsonl\.gz cannot be read \(EOFError"):
        load(write(tmp_path / "rows.jsonl.gz", cut))
    with pytest.raises(DataError, match=r"rows\.zip cannot be read \(BadZipFile"):
        load(write(tmp_path / "rows.zip", b"PK\x03\x04 no archive"))
    with pytest.raises(DataError, match=r"rows\.parquet cannot be read"):
        load(write(tmp_path / "rows.parquet", b"PAR1 no table"))


def test_files_that_are_missing_or_of_no_format(tmp_path):
    write(tmp_path / "prompts.jsonl", JSONL)
    with pytest.raises(DataError, match=r"does not exist\. Did you mean 'prompts\.jsonl'\?"):
        load(tmp_path / "promts.jsonl")
    with pytest.raises(DataError, match="is a folder"):
        load(tmp_path)
    with pytest.raises(DataError, match=r"the ending '\.xlsx' names no format; expected one of \.jsonl"):
        load(write(tmp_path / "rows.xlsx", b"x"))
    assert len(load(write(tmp_path / "rows.log", JSONL), "role=general&format=jsonl")[0]) == 3


def test_parquet(tmp_path):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "rows.parquet"
    turns = [[{"from": "human", "value": row["prompt"]}, {"from": "gpt", "value": row["output"]}] for row in ROWS]
    parquet.write_table(pyarrow.table({"conversations": turns, "lang": ["en"] * 3}), path)
    samples, _, notes = load(path)
    assert texts(samples) == [row["prompt"] for row in ROWS]
    assert [sample.answer for sample in samples] == [row["output"] for row in ROWS]
    assert "messages = column 'conversations', lang = column 'lang'" in notes


# -------------------------------------------------------------------------------------------------------------- JSON


@pytest.mark.parametrize(
    "document",
    [
        ROWS,
        {"data": ROWS},
        {"version": 1, "data": {"rows": ROWS}},
        {"prompt": [row["prompt"] for row in ROWS], "output": [row["output"] for row in ROWS], "inputs": []},
        {f"row-{number}": row for number, row in enumerate(ROWS)},
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_every_shape_of_a_json_document(tmp_path, document, indent):
    samples, _, _ = load(write(tmp_path / "rows.json", json.dumps(document, indent=indent)))
    assert texts(samples) == [row["prompt"] for row in ROWS]
    assert [sample.answer for sample in samples] == [row["output"] for row in ROWS]


def test_names_of_files_that_say_the_wrong_kind_of_json(tmp_path):
    samples, _, notes = load(write(tmp_path / "rows.json", JSONL))
    assert len(samples) == 3 and "one object per line" in notes[0]
    samples, _, notes = load(write(tmp_path / "rows.jsonl", json.dumps(ROWS, indent=1)))
    assert len(samples) == 3 and "one JSON document" in notes[0]


def test_json_documents_without_rows(tmp_path):
    with pytest.raises(DataError, match=r"rows under several keys: train, test\. Name one: \?key=train"):
        load(write(tmp_path / "rows.json", json.dumps({"train": ROWS, "test": ROWS})))
    assert len(load(tmp_path / "rows.json", "role=general&key=train")[0]) == 3
    with pytest.raises(DataError, match=r"nothing under the key 'trian'\. Did you mean 'train'"):
        load(tmp_path / "rows.json", "role=general&key=trian")
    with pytest.raises(DataError, match=r"columns of different length \(prompt 2, output 1\)"):
        load(write(tmp_path / "rows.json", '{"prompt": ["a", "b"], "output": ["c"]}'))
    with pytest.raises(DataError, match=r"rows\.json:2: not JSON"):
        load(write(tmp_path / "rows.json", '[{"prompt": "a"},\n{"prompt" "b"}]'))
    with pytest.raises(DataError, match="JSON that cannot be read"):
        load(write(tmp_path / "rows.json", "[" * 100_000))


def test_json_inside_a_string(tmp_path):
    ext = json.dumps({"category": "隐私权", "model": "x"}, ensure_ascii=False)
    row = {"prompt": '{"a": 1} 是什么格式？请解释。', "ext": ext}
    path = write(tmp_path / "rows.jsonl", json.dumps(row))
    samples, rejected, notes = load(path, "category=@ext.category")
    assert samples[0].prompt.risk == "A.4.e" and samples[0].role == "risky"
    assert texts(samples) == [row["prompt"]]  # a prompt about JSON stays as it is
    assert not rejected and "category = column 'ext.category'" in notes[0]


def test_messages_as_a_json_string(tmp_path):
    turns = [
        {"role": "user", "content": "What is a lease?"},
        {"role": "assistant", "content": "<think>Easy.</think>A contract."},
    ]
    samples, _, _ = load(write(tmp_path / "rows.csv", 'messages\n"' + json.dumps(turns).replace('"', '""') + '"\n'))
    assert (samples[0].thought, samples[0].answer) == ("Easy.", "A contract.")
