"""Run folders: what makes a stage current, what a kill leaves, who holds the lock."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safekeel import provenance
from safekeel.artifact import (
    Stage,
    atomic_write_json,
    atomic_write_text,
    digest,
    read_manifest,
    run_lock,
    sha256_file,
)
from safekeel.errors import DataError, RunLockedError, UsageError

MANIFEST_FIELDS = {
    "stage", "version", "started", "finished", "command", "config_digest", "inputs", "outputs", "counts", "seed", "git",
    "packages", "hardware", "warnings",
}  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with an input file and an input folder."""
    (tmp_path / "run/00-base/model").mkdir(parents=True)
    (tmp_path / "run/00-base/model/weights.safetensors").write_bytes(b"weights")
    (tmp_path / "run/rows.jsonl").write_text("{}\n")
    return tmp_path / "run"


def stage(run: Path, **changes: object) -> Stage:
    values: dict = {
        "dir": run / "20-sft", "name": "sft", "version": "1", "config": {"steps": 3, "名": "值"},
        "inputs": [run / "00-base/model", run / "rows.jsonl"], "seed": 0, "command": "safekeel run",
    }  # fmt: skip
    return Stage(**(values | changes))


def complete(run: Path) -> Path:
    """A finished stage; returns its folder."""
    work = stage(run)
    work.begin()
    (work.dir / "checkpoints/checkpoint-1").mkdir(parents=True)
    (work.dir / "checkpoints/checkpoint-1/model.bin").write_bytes(b"model")
    (work.dir / "metrics.jsonl").write_text('{"loss": 1}\n{"loss": 0}\n')
    outputs = [work.dir / "checkpoints", work.dir / "metrics.jsonl"]
    work.finish(outputs, {"in": 3, "kept": 2, "dropped": {"duplicate": 1}}, ["slow"])
    return work.dir


def test_the_manifest_has_every_field(run: Path) -> None:
    folder = complete(run)
    manifest = read_manifest(folder)
    assert set(manifest) == MANIFEST_FIELDS
    assert manifest["inputs"][1] == {"path": "rows.jsonl", "sha256": hashlib.sha256(b"{}\n").hexdigest()}
    assert [(row["path"], row["rows"]) for row in manifest["outputs"]] == [
        ("checkpoints/checkpoint-1/model.bin", None),
        ("metrics.jsonl", 2),
    ]
    assert manifest["outputs"][0]["sha256"] == hashlib.sha256(b"model").hexdigest()
    assert datetime.fromisoformat(manifest["started"]) <= datetime.fromisoformat(manifest["finished"])
    assert manifest["counts"]["dropped"] == {"duplicate": 1} and manifest["warnings"] == ["slow"]
    assert manifest["packages"]["python"] and manifest["packages"]["pydantic"]
    assert manifest["hardware"]["num_cpus"] >= 1
    assert set(manifest["git"]) == {"commit", "dirty"}
    assert json.loads((folder / "config.json").read_text("utf-8")) == {"steps": 3, "名": "值"}
    assert not (folder / "started.json").exists()


def test_a_finished_stage_is_current_wherever_the_run_lies(run: Path) -> None:
    complete(run)
    assert stage(run).is_current()
    moved = run.rename(run.with_name("moved"))
    assert stage(moved).is_current()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"name": "rl"}, "its stage changed"),
        ({"version": "2"}, "its version changed"),
        ({"config": {"steps": 4}}, "its config digest changed"),
        ({"seed": 1}, "its seed changed"),
        ({"command": "safekeel train sft"}, "its command changed"),
    ],
)
def test_other_work_is_not_current(run: Path, changes: dict, reason: str) -> None:
    complete(run)
    assert stage(run, **changes).why_stale() == reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda run: (run / "rows.jsonl").write_text("{}\n{}\n"), "its inputs changed"),
        (lambda run: (run / "00-base/model/weights.safetensors").write_bytes(b"other"), "its inputs changed"),
        (lambda run: (run / "00-base/model/extra.json").write_text("{}"), "its inputs changed"),
        (lambda run: (run / "rows.jsonl").unlink(), "rows.jsonl is missing"),
        (lambda run: (run / "20-sft/metrics.jsonl").write_text("x"), "missing or was changed"),
        (lambda run: (run / "20-sft/checkpoints/checkpoint-1/model.bin").unlink(), "missing or was changed"),
        (lambda run: (run / "20-sft/manifest.json").unlink(), "not finished yet"),
        (lambda run: (run / "20-sft/manifest.json").write_text("{"), "not finished yet"),
    ],
)
def test_changed_files_are_noticed(run: Path, change: Callable[[Path], object], reason: str) -> None:
    complete(run)
    change(run)
    assert reason in (stage(run).why_stale() or "")


def test_files_that_are_no_output_do_not_matter(run: Path) -> None:
    folder = complete(run)
    (folder / "notes.txt").write_text("mine")
    assert stage(run).is_current()


def test_a_partial_attempt_at_the_same_work_is_continued(run: Path) -> None:
    first = stage(run)
    assert not first.begin()
    (first.dir / "rows.jsonl").write_text("{}\n")
    (first.dir / ".scores.json.123.partial").write_text("{")
    again = stage(run)
    assert again.begin()
    assert (first.dir / "rows.jsonl").read_text() == "{}\n"
    assert not (first.dir / ".scores.json.123.partial").exists()
    again.finish([first.dir / "rows.jsonl"], {})
    assert "continues an attempt" in read_manifest(first.dir)["warnings"][0]
    assert stage(run).is_current()


@pytest.mark.parametrize("changes", [{"config": {"steps": 4}}, {"version": "2"}, {"seed": 1}])
def test_a_partial_attempt_at_other_work_is_emptied(run: Path, changes: dict) -> None:
    first = stage(run)
    first.begin()
    (first.dir / "deep").mkdir()
    (first.dir / "deep/rows.jsonl").write_text("{}\n")
    other = stage(run, **changes)
    assert not other.begin()
    assert sorted(path.name for path in first.dir.iterdir()) == ["config.json", "started.json"]


def test_a_partial_attempt_with_other_inputs_is_emptied(run: Path) -> None:
    first = stage(run)
    first.begin()
    (first.dir / "completions.jsonl").write_text("{}\n")
    (run / "00-base/model/weights.safetensors").write_bytes(b"after training")
    assert not stage(run).begin()
    assert not (first.dir / "completions.jsonl").exists()


def test_a_finished_stage_is_redone_from_an_empty_folder(run: Path) -> None:
    folder = complete(run)
    work = stage(run)
    assert not work.begin()
    assert not (folder / "manifest.json").exists() and not (folder / "metrics.jsonl").exists()
    assert not stage(run).is_current()


def test_a_kill_right_after_the_manifest_leaves_a_finished_stage(run: Path) -> None:
    folder = run / "20-sft"
    stage(run).begin()
    started = (folder / "started.json").read_bytes()
    complete(run)
    (folder / "started.json").write_bytes(started)
    assert stage(run).is_current()
    (folder / "metrics.jsonl").write_text("edited by hand")
    assert not stage(run).begin()
    assert not (folder / "metrics.jsonl").exists()


def test_discard_empties_what_safekeel_wrote(run: Path) -> None:
    folder = complete(run)
    target = run / "precious.txt"
    target.write_text("kept")
    (folder / "link").symlink_to(target)
    (folder / "folder-link").symlink_to(run / "00-base")
    stage(run).discard()
    assert list(folder.iterdir()) == []
    assert target.read_text() == "kept" and (run / "00-base/model/weights.safetensors").exists()
    stage(run, dir=run / "never-made").discard()


@pytest.mark.parametrize("name", ["thesis.tex", "manifest.json", "started.json"])
def test_a_folder_of_somebody_else_is_never_emptied(run: Path, name: str) -> None:
    folder = run / "20-sft"
    folder.mkdir()
    (folder / name).write_text('{"name": "a web app"}')
    for action in (stage(run).begin, stage(run).discard):
        with pytest.raises(DataError, match="files that no SafeKeel stage wrote"):
            action()
    assert (folder / name).read_text() == '{"name": "a web app"}'


def test_a_kill_while_emptying_leaves_a_folder_that_is_emptied_again(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = complete(run)

    def killed(path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("safekeel.artifact.shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            stage(run).discard()
    assert not (folder / "manifest.json").exists() and (folder / "checkpoints").exists()
    assert not stage(run).begin()
    assert not (folder / "checkpoints").exists()


def test_a_lock_in_the_stage_folder_survives_emptying(run: Path) -> None:
    folder = complete(run)
    with run_lock(folder):
        stage(run, seed=1).begin()
        with pytest.raises(RunLockedError), run_lock(folder):
            pass


def test_missing_inputs_and_outputs_are_named(run: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.jsonl, an input of 'sft', is missing; run the stage"):
        stage(run, inputs=[run / "gone.jsonl"]).begin()
    work = stage(run)
    work.begin()
    for path in (work.dir / "gone.jsonl", run / "rows.jsonl"):
        with pytest.raises(DataError, match=r"\.jsonl, an output of 'sft', is missing in"):
            work.finish([path], {})
    assert not (work.dir / "manifest.json").exists()
    with pytest.raises(RuntimeError, match="was called without"):
        stage(run).finish([], {})


def test_a_manifest_that_is_missing_or_foreign_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the stage has not finished"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(DataError, match="is no SafeKeel manifest"):
        read_manifest(tmp_path)


def test_a_file_in_the_way_of_a_folder_is_a_usage_error(run: Path) -> None:
    with pytest.raises(UsageError, match="cannot be made a folder"):
        stage(run, dir=run / "rows.jsonl").begin()
    with pytest.raises(UsageError, match="cannot be made a folder"), run_lock(run / "rows.jsonl"):
        pass


def test_a_folder_hash_sees_names_and_content_but_no_lock(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1").write_text("x")
    before = sha256_file(tmp_path)
    with run_lock(tmp_path):
        assert sha256_file(tmp_path) == before
    (tmp_path / "a/1").rename(tmp_path / "a/2")
    renamed = sha256_file(tmp_path)
    (tmp_path / "a/2").write_text("y")
    assert len({before, renamed, sha256_file(tmp_path)}) == 3


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), PLAIN, max_size=4))
def test_a_digest_ignores_key_order_and_survives_json(data: dict) -> None:
    backwards = dict(reversed(data.items()))
    assert digest(data) == digest(backwards) == digest(json.loads(json.dumps(data)))
    assert digest(data) != digest({"": data})


def test_a_digest_of_what_json_cannot_hold_is_an_error() -> None:
    for bad in ({"x": float("nan")}, {"x": {1}}, {"x": Path()}):
        with pytest.raises((TypeError, ValueError)):
            digest(bad)


def test_atomic_writes_leave_the_old_file_when_they_fail(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    atomic_write_json(path, {"中": 1})
    assert path.read_text("utf-8") == '{\n  "中": 1\n}\n'
    for bad in ({"x": float("nan")}, {"x": {1}}):
        with pytest.raises((TypeError, ValueError)):
            atomic_write_json(path, bad)
    with pytest.raises(UnicodeEncodeError):
        atomic_write_text(path, "\ud800")
    assert path.read_text("utf-8") == '{\n  "中": 1\n}\n'
    assert list(tmp_path.iterdir()) == [path]
    atomic_write_text(path, "a\r\nb\n")
    assert path.read_bytes() == b"a\r\nb\n"


HOLD = """
import sys, time
from pathlib import Path
from safekeel.artifact import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_told_who_holds_the_folder(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "held\n"
        message = rf"{tmp_path.name} is in use by process {holder.pid} on .* --out"
        with pytest.raises(RunLockedError, match=message), run_lock(tmp_path):
            pass
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    with run_lock(tmp_path):  # freed by the kill, although its holder file is still there
        pass


def test_the_lock_is_freed_when_the_work_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="broke"), run_lock(tmp_path / "new"):
        raise RuntimeError("broke")
    with run_lock(tmp_path / "new"):
        pass


def test_provenance_does_without_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    provenance.git_state.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.git_state() == {"commit": None, "dirty": None}
    provenance.git_state.cache_clear()


def test_provenance_never_imports_torch() -> None:
    code = (
        "import sys, safekeel.artifact as a, safekeel.provenance as p; p.hardware(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_folder_that_takes_no_files_is_an_error_of_usage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(tmp_path / ".run.lock"))

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)  # root may write anywhere, so no mode bits
    with pytest.raises(UsageError, match=r"cannot be written to \(Permission denied\)"), run_lock(tmp_path):
        pass
