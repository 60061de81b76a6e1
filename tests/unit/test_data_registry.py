"""The registry of public data: what every entry must say, and local copies against it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest

from safekeel.data import table
from safekeel.data.registry import (
    LOCK_FILE,
    DataSet,
    find_set,
    git_blob_id,
    load_registry,
    parse_registry,
    set_of,
    state_of,
)
from safekeel.errors import DataError, UsageError
from tests.helpers import safekeel

DATA = Path(os.environ.get("SAFEKEEL_DATA", "/nonexistent"))
NOT_SEEN = {
    # on the Hugging Face hub only, out of reach when the registry was made: no hash is pinned
    "jailbreakbench-benign",
    "jailbreakbench-judges",
    "or-bench",
    "beavertails-eval",
    "beavertails",
    "pku-saferlhf",
    "wildguard",
    "zh-r1-distill-110k",
    "gpqa",
    "livecodebench",
}
ENTRY = """
[[set]]
name = "a-set"
title = "A set"
languages = ["zh"]
licence = "MIT"
training_allowed = true
role = "safety"
citation = "We 2025"
homepage = "https://example.org"
folder = "a"
repository = "we/a"
commit = "0123456789abcdef0123456789abcdef01234567"
"""


def parse(text: str) -> tuple[DataSet, ...]:
    return parse_registry(text, Path("/nonexistent"))


def one_file(**fields: object) -> str:
    cells = ", ".join(f"{key} = {json.dumps(value)}" for key, value in {"file": "x", "path": "x", **fields}.items())
    return f"{ENTRY}files = [ {{ {cells} }} ]\n"


@pytest.mark.parametrize("data_set", load_registry(), ids=lambda data_set: data_set.name)
def test_every_set_says_what_a_user_must_know(data_set: DataSet) -> None:
    assert data_set.licence and data_set.citation and data_set.homepage.startswith("https://")
    assert data_set.verified == (data_set.name not in NOT_SEEN)
    if data_set.verified:
        assert data_set.repository and data_set.commit
    for file in data_set.files:
        assert (file.sha256 is None) or (file.num_bytes or 0) > 0
        assert (file.member is None) == (data_set.archive_sha256 is None)
    if any(word in data_set.licence for word in ("NC", "gated", "none stated", "research use only")):
        assert not data_set.training_allowed


def test_local_paths_are_unique_and_found_again() -> None:
    paths = [(data_set.folder, file.file) for data_set in load_registry() for file in data_set.files]
    assert len(paths) == len(set(paths)) > 400
    assert all(set_of(folder, file) is not None for folder, file in paths[:5])
    assert set_of("xstest", "xstest_prompts.csv") is find_set("xstest")
    assert set_of("xstest", "other.csv") is None


def test_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"No data set 'xtest'\. Did you mean 'xstest'"):
        find_set("xtest")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", "expected TOML"),
        ("a = 1", "expected TOML with"),
        (ENTRY, "files: missing"),
        (one_file(file="../x"), "files"),
        (one_file(file="/x"), "files"),
        (one_file(file="a/.x"), "files"),
        (one_file(sha256="12"), "files"),
        (one_file(url="x"), "unknown name"),
        (one_file().replace("repository", "huggingface"), "either repository and commit"),
        (one_file() + one_file(), "the name 'a-set' occurs twice"),
        (one_file() + one_file().replace("a-set", "b-set"), "the local path 'a/x' occurs twice"),
    ],
)
def test_malformed_registry_is_an_error(text: str, message: str) -> None:
    with pytest.raises(DataError, match=f"sources.toml.*{message}"):
        parse(text)


def test_states(tmp_path: Path) -> None:
    good, part = b"whole\nrest\n", b"whole\n"
    pin, part_pin = hashlib.sha256(good).hexdigest(), hashlib.sha256(part).hexdigest()
    (data_set,) = parse(one_file(sha256=pin, excerpt="part", excerpt_sha256=part_pin))
    assert state_of(data_set, tmp_path).summary == "missing"
    (tmp_path / "a").mkdir()
    (tmp_path / "a/part").write_bytes(part)
    assert state_of(data_set, tmp_path).files == {"a/x": "excerpt"} and not state_of(data_set, tmp_path).complete
    (tmp_path / "a/part").write_bytes(part + b"!")
    assert state_of(data_set, tmp_path).summary == "changed"
    (tmp_path / "a/x").write_bytes(good)
    assert state_of(data_set, tmp_path).complete
    (tmp_path / "a/x").write_bytes(good + b"!")
    assert state_of(data_set, tmp_path).files == {"a/x": "changed"}


def test_a_file_without_a_pin_is_held_to_the_lock(tmp_path: Path) -> None:
    (data_set,) = parse(one_file())
    (tmp_path / "a").mkdir()
    (tmp_path / "a/x").write_bytes(b"one")
    assert state_of(data_set, tmp_path).summary == "unpinned"
    entry = {"a/x": {"sha256": hashlib.sha256(b"one").hexdigest()}}
    (tmp_path / LOCK_FILE).write_text(json.dumps(entry))
    assert state_of(data_set, tmp_path).complete
    (tmp_path / "a/x").write_bytes(b"two")
    assert state_of(data_set, tmp_path).summary == "changed"
    for broken in ("[]", "{", '{"a/x": {}}'):
        (tmp_path / LOCK_FILE).write_text(broken)
        with pytest.raises(DataError, match="no lock file of SafeKeel"):
            state_of(data_set, tmp_path)


def test_git_blob_id_is_what_git_says(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes("问题\r\n".encode() * 3)
    answer = subprocess.run(["git", "hash-object", str(path)], capture_output=True, text=True, check=True)
    assert git_blob_id(path) == answer.stdout.strip()
    (data_set,) = parse(one_file(git_blob=git_blob_id(path)))
    assert data_set.verified and data_set.files[0].matches(path)
    path.write_bytes(b"other")
    assert not data_set.files[0].matches(path)


def test_docs_page_is_up_to_date() -> None:
    page = Path(__file__).parents[2] / "docs" / "data.md"
    assert page.read_text("utf-8") == table.as_markdown(), "run: safekeel data list --md > docs/data.md"


def test_table_without_a_data_folder_and_with_one(tmp_path: Path) -> None:
    rows = {row["name"]: row for row in table.rows(None)}
    assert rows["xstest"]["state"] == "-" and rows["xstest"]["rows"] == 450
    assert {row["state"] for row in table.rows(tmp_path)} == {"missing"}
    line = next(line for line in table.as_text(rows.values()).splitlines() if line.startswith("s-eval "))
    assert line.split()[:6] == ["s-eval", "zh+en", "22,000", "-", "yes", "no"]


@pytest.mark.skipif(not DATA.is_dir(), reason="needs public data in the folder that SAFEKEEL_DATA names")
def test_no_real_local_copy_is_changed() -> None:
    states = [state_of(data_set, DATA) for data_set in load_registry()]
    changed = [path for state in states for path, found in state.files.items() if found == "changed"]
    assert changed == []
    assert sum(state.complete for state in states) >= 15


def test_check_command_ends_with_3_where_something_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "xstest").mkdir()
    (tmp_path / "xstest/xstest_prompts.csv").write_text("id\n1\n")
    answer = safekeel("data", "check", "--data-dir", str(tmp_path))
    assert answer.returncode == 3 and "changed: xstest/xstest_prompts.csv" in answer.stdout
    assert "safekeel data fetch NAME" in answer.stderr
    empty = tmp_path / "empty"
    assert safekeel("data", "check", "--data-dir", str(empty)).returncode == 0
    assert safekeel("data", "check", "xstest", "--data-dir", str(empty)).returncode == 3
