"""The registry as a table: for the terminal, as JSON, and as `docs/data.md`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safekeel.data.registry import DataSet, load_registry, state_of

ROLES = {
    "safety": "Safety benchmarks",
    "labels": "Answers with labels, to measure judges",
    "capability": "Capability",
    "corpus": "Training data",
}
NO_FOLDER = "-"
_HEAD = """# Public data

Made by `safekeel data list --md > docs/data.md` from `src/safekeel/data/sources.toml`; a test keeps it up to date.

SafeKeel ships none of these files. `safekeel data fetch NAME --data-dir DIR` downloads a set from the pinned commit
and checks every file, `safekeel data check` compares local copies, and `--data-dir` or `SAFEKEEL_DATA` names the folder
that benchmarks read. Many rows are harmful requests, some are harmful answers: evaluate with them, do not publish them.

*training* says what the licence allows a model that is trained on a set; a benchmark does not belong in training
whatever its licence. *pinned* = yes: SHA-256 of bytes the authors read; *tree*: some files are pinned by the id in the
commit's tree, their content was not read; *no*: the schema is from documentation, `fetch` wants `--accept-unverified`
and records the hash it got. The repository is where the bytes were read, which may be a copy of the original.
"""


def rows(root: Path | None) -> list[dict[str, Any]]:
    """One row per set; `state` and `files` compare the data folder `root` with the registry (None = no folder)."""
    return [_row(data_set, root) for data_set in load_registry()]


def _row(data_set: DataSet, root: Path | None) -> dict[str, Any]:
    state = state_of(data_set, root) if root else None
    return {
        "name": data_set.name,
        "title": data_set.title,
        "languages": list(data_set.languages),
        "rows": data_set.rows,
        "licence": data_set.licence,
        "training_allowed": data_set.training_allowed,
        "role": data_set.role,
        "citation": data_set.citation,
        "homepage": data_set.homepage,
        "pinned": pinned(data_set),
        "state": state.summary if state else NO_FOLDER,
        "files": state.files if state else {f"{data_set.folder}/{f.file}": NO_FOLDER for f in data_set.files},
    }


def pinned(data_set: DataSet) -> str:
    """`yes`, `tree` or `no`, as explained in docs/data.md."""
    if not data_set.verified:
        return "no"
    return "yes" if all(file.sha256 for file in data_set.files) else "tree"


def as_text(found: Iterable[dict[str, Any]]) -> str:
    """A table for the terminal."""
    lines = [f"{'name':<22}{'lang':<7}{'rows':>8}  {'state':<10}{'pinned':<8}{'training':<10}licence"]
    for row in found:
        count = "?" if row["rows"] is None else f"{row['rows']:,}"
        lines.append(
            f"{row['name']:<22}{'+'.join(row['languages']):<7}{count:>8}  {row['state']:<10}{row['pinned']:<8}"
            f"{'allowed' if row['training_allowed'] else 'no':<10}{row['licence']}"
        )
    return "\n".join(lines)


def as_markdown() -> str:
    """The content of docs/data.md: the registry alone, nothing of this machine."""
    parts = [_HEAD]
    for role, heading in ROLES.items():
        parts += [f"## {heading}\n", "| name | what | lang | rows | licence | training | pinned | from |"]
        parts.append("|---|---|---|--:|---|---|---|---|")
        parts += [_markdown_row(data_set) for data_set in load_registry() if data_set.role == role]
        parts.append("")
    return "\n".join(parts)


def _markdown_row(data_set: DataSet) -> str:
    note = f" {data_set.note}" if data_set.note else ""
    cells = (
        f"`{data_set.name}`",
        f"[{data_set.title}]({data_set.homepage}), {data_set.citation}.{note}",
        " ".join(data_set.languages),
        "?" if data_set.rows is None else f"{data_set.rows:,}",
        data_set.licence,
        "allowed" if data_set.training_allowed else "no",
        pinned(data_set),
        data_set.source(data_set.files[0]),
    )
    return f"| {' | '.join(cells)} |"
