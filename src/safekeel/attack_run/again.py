"""`safekeel report` of an attack folder: its page made again from what lies there. No model and no judge is asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from safekeel.artifact import CONFIG, MANIFEST, STARTED, atomic_write_json, read_manifest, run_lock
from safekeel.attack_run.report import ATTACK_HTML, PAGE, write_report
from safekeel.attack_run.sources import read_sources
from safekeel.attack_run.stage import STAGE
from safekeel.errors import DataError
from safekeel.files import make_folder, read_json, sha256_file


def is_attack(folder: Path) -> bool:
    """Whether `safekeel attack` made this folder, finished or not."""
    marks = (read_json(folder / name) for name in (MANIFEST, STARTED))
    return any(isinstance(mark, dict) and mark.get("stage") == STAGE for mark in marks)


def page_again(folder: Path, out: Path | None, say: Callable[[str], None]) -> Path:
    """Write the page of a finished attack again, with the --base and --transfer folders and the judge's card of the
    run; returns the path of `attack.html`.

    Args:
        out: where to; None = into the folder, whose manifest takes the new hashes.

    Raises:
        DataError: the attack has not finished, or a file or folder that it needs is missing or malformed.
        RunLockedError: another process is at work on the folder.
    """
    _require_finished(folder)
    if out is not None and out.absolute() != folder.absolute():
        make_folder(out)
        write_report(folder, read_sources(folder), out)
        return out / ATTACK_HTML
    with run_lock(folder):
        _require_finished(folder)
        for name in _changed(folder):
            say(f"WARNING: {folder / name} was changed after the attack finished; the page is of the file as it is now")
        _refresh(folder, write_report(folder, read_sources(folder)))
    return folder / ATTACK_HTML


def _require_finished(folder: Path) -> None:
    if (folder / MANIFEST).exists():
        return
    model = (read_json(folder / CONFIG) or {}).get("model")
    command = f"safekeel attack {model} … --out {folder}" if model else f"safekeel attack … --out {folder}"
    raise DataError(
        f"{folder} holds an attack that has not finished, so there is no page to make. Run its command again, with the "
        f"options it was begun with: {command}; it continues where it stopped, asks nothing twice and ends with the "
        "page."
    )


def _changed(folder: Path) -> list[str]:
    """Measured files that are no longer those of the manifest; `safekeel score` leaves none."""
    measured = [row for row in read_manifest(folder)["outputs"] if row["path"] not in PAGE]
    found = [(row["path"], folder / row["path"], row["sha256"]) for row in measured]
    return [name for name, path, sha in found if path.is_file() and sha256_file(path) != sha]


def _refresh(folder: Path, written: Sequence[Path]) -> None:
    """The page's hashes in the manifest, and no others: a measured file that was changed stays visible as such."""
    manifest = read_manifest(folder)
    for row in manifest["outputs"]:
        path = folder / row["path"]
        if path in written:
            row["sha256"] = sha256_file(path)
            row["rows"] = len(path.read_bytes().splitlines()) if path.suffix == ".jsonl" else None
    atomic_write_json(folder / MANIFEST, manifest)
