"""Run folders: manifests, the skip rule, and the lock. Atomic files and hashes come from `files`, re-exported here.

A stage owns one folder. `begin` prepares it (continuing a partial attempt at the same work, emptying any other), the
stage writes its files, and `finish` writes `manifest.json` last, atomically: a folder with a manifest is complete.

    stage = Stage(out / "20-sft", "sft", "1", config, [out / "10-corpus/sft.jsonl"], seed=0, command="safekeel run")
    if not stage.is_current():
        stage.begin()
        ...
        stage.finish([stage.dir / "metrics.jsonl"], {"in": 900, "kept": 900})
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import filelock

from safekeel import provenance
from safekeel.errors import DataError, RunLockedError, UsageError
from safekeel.files import (
    HOLDER,
    LOCK,
    LOCK_FILES,
    PARTIAL_PATTERN,
    atomic_write_json,
    atomic_write_text,
    digest,
    files_under,
    make_folder,
    read_json,
    sha256_file,
)

__all__ = [
    "Stage",
    "atomic_write_json",
    "atomic_write_text",
    "digest",
    "read_manifest",
    "refresh_manifest",
    "run_lock",
    "sha256_file",
]

MANIFEST, STARTED, CONFIG = "manifest.json", "started.json", "config.json"


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a finished stage.

    Raises:
        DataError: the folder has none (the stage did not finish) or it is malformed.
    """
    path = Path(folder) / MANIFEST
    if not path.exists():
        raise DataError(f"{path} does not exist: the stage has not finished. Run it, or run the same command again.")
    manifest = read_json(path)
    if not isinstance(manifest, dict) or "config_digest" not in manifest:
        raise DataError(f"{path} is no SafeKeel manifest: expected an object with a config_digest. Rerun the stage.")
    return manifest


def refresh_manifest(folder: Path, counts: dict[str, Any]) -> None:
    """Take the new hashes of derived outputs that were rewritten on purpose (judged again) into a finished stage's
    manifest, and update its counts. A folder without a manifest is left without one."""
    path = Path(folder) / MANIFEST
    if not path.exists():
        return
    manifest = read_manifest(folder)
    for row in manifest["outputs"]:
        output = Path(folder) / row["path"]
        row.update(rows=_num_rows(output), sha256=sha256_file(output))
    manifest["counts"].update(counts)
    atomic_write_json(path, manifest)


@contextmanager
def run_lock(run_dir: Path) -> Iterator[None]:
    """Hold a run folder for this process; the system frees it when the process ends, however it ends.

    Raises:
        RunLockedError: another process holds it; the message has its number.
        UsageError: the folder cannot be made, or nothing can be written to it.
    """
    run_dir = Path(run_dir)
    make_folder(run_dir)
    lock = filelock.FileLock(run_dir / LOCK)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout as error:
        holder = read_json(run_dir / HOLDER)
        who = "process {pid} on {host} since {since}".format(**holder) if holder else "another process"
        raise RunLockedError(
            f"{run_dir} is in use by {who}. Wait for it, stop it, or give this run another folder with --out."
        ) from error
    except OSError as error:
        raise UsageError(f"{run_dir} cannot be written to ({error.strerror}); name another with --out.") from error
    try:
        atomic_write_json(run_dir / HOLDER, {"pid": os.getpid(), "host": socket.gethostname(), "since": _now()})
        yield
    finally:
        (run_dir / HOLDER).unlink(missing_ok=True)
        lock.release()


@dataclass
class Stage:
    """One stage's folder, and what decides whether its content is still right.

    `inputs` are files or folders; `config` is plain JSON data. Work is the same when stage name, version, command,
    seed, configuration and the inputs' hashes (in order, wherever they lie) are the same.
    """

    dir: Path
    name: str
    version: str
    config: dict[str, Any]
    inputs: list[Path]
    seed: int
    command: str
    keep: tuple[str, ...] = ()
    """Patterns of files that outlive a change of the work, because their rows are found again by content."""
    _input_hashes: list[str] | None = field(default=None, init=False, repr=False)
    _started: str | None = field(default=None, init=False, repr=False)
    _resumed: str | None = field(default=None, init=False, repr=False)

    def is_current(self) -> bool:
        """True when the folder holds a finished, unchanged result of exactly this work."""
        return self.why_stale() is None

    def why_stale(self) -> str | None:
        """None when the folder is current, else the first reason why not, in words."""
        try:
            manifest = read_manifest(self.dir)
        except DataError:
            return "not finished yet"
        if missing := [path for path in self.inputs if not path.exists()]:
            return f"{missing[0]} is missing"
        for key, value in self._identity().items():
            if manifest.get(key) != value:
                return f"its {key.replace('_', ' ')} changed"
        if [row["sha256"] for row in manifest["inputs"]] != self._hashes():
            return "its inputs changed"
        for row in manifest["outputs"]:
            path = self.dir / row["path"]
            if not path.is_file() or sha256_file(path) != row["sha256"]:
                return f"{path} is missing or was changed"
        return None

    def begin(self) -> bool:
        """Prepare the folder and write `config.json`.

        Returns:
            True when files of a partial attempt at the same work were kept to continue from, else the folder is empty.

        Raises:
            DataError: an input is missing, or the folder holds files that no SafeKeel stage wrote.
        """
        work, self._started = digest({**self._identity(), "inputs": self._hashes()}), _now()
        attempt = read_json(self.dir / STARTED) or {}
        resumes = attempt.get("digest") == work and not (self.dir / MANIFEST).exists()
        self._resumed = attempt["started"] if resumes else None
        if resumes:
            for path in self.dir.rglob(PARTIAL_PATTERN):
                path.unlink()
        else:
            self.discard(self.keep)
            make_folder(self.dir)
            atomic_write_json(self.dir / STARTED, {"stage": self.name, "digest": work, "started": self._started})
        atomic_write_json(self.dir / CONFIG, self.config)
        provenance.git_state()  # the code as it is now, not as it may be edited while the stage runs
        return resumes

    def discard(self, keep: Sequence[str] = ()) -> None:
        """Empty the stage's folder, finished or not.

        Args:
            keep: patterns of names that stay.

        Raises:
            DataError: the folder holds files that no SafeKeel stage wrote; nothing is deleted then.
        """
        if not self.dir.is_dir():
            return
        content = [path for path in self.dir.iterdir() if path.name not in LOCK_FILES]
        if not content:
            return
        if not self._is_ours():
            raise DataError(
                f"{self.dir} holds files that no SafeKeel stage wrote (such as {content[0].name}), and the stage "
                f"{self.name!r} needs an empty folder. Name another folder, or empty this one yourself."
            )
        # STARTED goes last: a kill in between leaves a folder that is still recognised, and emptied again.
        atomic_write_json(self.dir / STARTED, {"stage": self.name, "digest": None, "started": _now()})
        for path in sorted(content, key=lambda path: path.name != MANIFEST):
            if any(path.match(pattern) for pattern in keep):
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != STARTED:
                path.unlink()
        (self.dir / STARTED).unlink()

    def finish(self, outputs: Sequence[Path], counts: dict[str, Any], warnings: Sequence[str] = ()) -> None:
        """Write `manifest.json`; the stage is complete from then on.

        Args:
            outputs: files and folders (expanded to their files) inside the stage's folder.
            counts: `in`, `kept`, `dropped` by reason, `unscored`, or what the stage counts instead.

        Raises:
            DataError: an output does not exist or lies outside the folder.
        """
        if self._started is None:
            raise RuntimeError("Stage.finish was called without Stage.begin")
        notes = list(warnings)
        if self._resumed:
            notes.append(f"continues an attempt of {self._resumed}; started and finished span the last attempt only")
        manifest = {
            **self._identity(),
            "started": self._started,
            "finished": _now(),
            "inputs": [
                {"path": self._relative(path), "sha256": sha}
                for path, sha in zip(self.inputs, self._hashes(), strict=True)
            ],
            "outputs": self._describe(outputs),
            "counts": counts,
            "git": provenance.git_state(),
            "packages": provenance.package_versions(),
            "hardware": provenance.hardware(),
            "warnings": notes,
        }
        atomic_write_json(self.dir / MANIFEST, manifest)
        (self.dir / STARTED).unlink(missing_ok=True)

    def _identity(self) -> dict[str, Any]:
        return {
            "stage": self.name,
            "version": self.version,
            "command": self.command,
            "config_digest": digest(self.config),
            "seed": self.seed,
        }

    def _is_ours(self) -> bool:
        marks = ((STARTED, "digest"), (MANIFEST, "config_digest"))
        found = ((read_json(self.dir / name), key) for name, key in marks)
        return any(isinstance(content, dict) and key in content for content, key in found)

    def _hashes(self) -> list[str]:
        """The inputs' hashes, taken once: an input is written before its stage object is used, and never after."""
        if self._input_hashes is None:
            if missing := [path for path in self.inputs if not path.exists()]:
                raise DataError(f"{missing[0]}, an input of {self.name!r}, is missing; run the stage that writes it.")
            self._input_hashes = [sha256_file(path) for path in self.inputs]
        return self._input_hashes

    def _relative(self, path: Path) -> str:
        """A path for the manifest: relative to the run folder where it lies inside, so that a run can be moved."""
        absolute, run_dir = Path(os.path.abspath(path)), Path(os.path.abspath(self.dir)).parent
        return absolute.relative_to(run_dir).as_posix() if absolute.is_relative_to(run_dir) else absolute.as_posix()

    def _describe(self, outputs: Sequence[Path]) -> list[dict[str, Any]]:
        """`{path, rows, sha256}` per output file; paths are relative to the stage's folder."""
        folder = Path(os.path.abspath(self.dir))
        files = [file for output in outputs for file in (files_under(output) if output.is_dir() else [output])]
        rows = []
        for path in dict.fromkeys(Path(os.path.abspath(file)) for file in files):
            if not path.is_file() or not path.is_relative_to(folder):
                raise DataError(f"{path}, an output of {self.name!r}, is missing in {folder}; run the stage again.")
            relative = path.relative_to(folder).as_posix()
            rows.append({"path": relative, "rows": _num_rows(path), "sha256": sha256_file(path)})
        return rows


def _num_rows(path: Path) -> int | None:
    """Rows of a JSONL file; None for any other."""
    if path.suffix != ".jsonl":
        return None
    with path.open("rb") as file:
        return sum(1 for line in file if line.strip())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
