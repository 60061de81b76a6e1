"""Exports: a corpus folder -> files that other engines load, each with a manifest and a README.

export(Path("out/run/10-corpus"), ["trl", "verl"], Path("out/export"), tokenizer=Path("models/R1-Distill-7B"))

out/export/<format>/   data files · left_out.jsonl (what the format cannot hold) · README.md · manifest.json (last)
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from safekeel import __version__
from safekeel.corpus.export.base import CannotHold, Corpus, Format, Rendered, Table, write_table
from safekeel.corpus.export.llamafactory import LlamaFactory
from safekeel.corpus.export.mindspeed import MindSpeed
from safekeel.corpus.export.own import Own
from safekeel.corpus.export.template import template_hash
from safekeel.corpus.export.trl import Trl
from safekeel.corpus.export.verl import Verl
from safekeel.corpus.sample import Sample
from safekeel.corpus.tokens import BatchCounter, CountedTokens, EstimatedTokens, open_tokenizer
from safekeel.errors import DataError, UsageError
from safekeel.files import atomic_write_json, atomic_write_text, make_folder, read_json, sha256_file
from safekeel.records import Prompt, read_jsonl, write_jsonl
from safekeel.registry import Registry

__all__ = ["EXPORTS", "CannotHold", "Corpus", "Format", "Rendered", "Table", "export"]

MANIFEST, README, LEFT_OUT = "manifest.json", "README.md", "left_out.jsonl"

EXPORTS: Registry[Format] = Registry("export format", "safekeel.exports")
for _format in (
    Own("jsonl"),
    Own("parquet"),
    Trl(),
    LlamaFactory("llamafactory-alpaca"),
    LlamaFactory("llamafactory-sharegpt"),
    MindSpeed(),
    Verl(),
):
    EXPORTS.add(_format.name, _format)


def export(folder: Path, formats: Sequence[str], out: Path, tokenizer: Path | None = None) -> list[Path]:
    """Write a corpus in each of the formats.

    Args:
        folder: holds `sft.jsonl` (Sample rows) and, for RL formats, `rl.jsonl` (Prompt rows).
        tokenizer: folder of the model to train or of its tokenizer. With it texts are rendered and lengths are exact.

    Returns:
        The manifest of each format, in the order asked for.

    Raises:
        UsageError: an unknown format, or none.
        DataError: no `sft.jsonl`, an empty or malformed one, or a target folder with other files in it.
        EngineError: pyarrow or transformers is needed and missing.
    """
    wanted = [EXPORTS.get(name) for name in dict.fromkeys(formats)]
    if not wanted:
        raise UsageError(f"No format was named; choose from {', '.join(EXPORTS.names())}.")
    corpus = _read(Path(folder), tokenizer)
    sources = [path for name in ("sft.jsonl", "rl.jsonl") if (path := Path(folder) / name).is_file()]
    origin = {
        "safekeel": __version__,
        "inputs": [{"path": str(path), "sha256": sha256_file(path)} for path in sources],
        "tokenizer": str(tokenizer) if tokenizer else None,
        "template_sha256": template_hash(corpus.tokenizer),
        "longest_tokens": corpus.longest,
        "tokens": corpus.how_counted,
    }
    return [_write(Path(out) / chosen.name, chosen, chosen.render(corpus), origin) for chosen in wanted]


def _read(folder: Path, tokenizer: Path | None) -> Corpus:
    path = folder / "sft.jsonl"
    if not path.is_file():
        raise DataError(f"{path} does not exist; expected a folder written by `safekeel corpus build`.")
    samples = read_jsonl(path, Sample)
    if not samples:
        raise DataError(f"{path} is empty; there is nothing to export. See rejected.jsonl beside it for the reasons.")
    rl_path = folder / "rl.jsonl"
    loaded = open_tokenizer(tokenizer) if tokenizer else None
    counter = CountedTokens(loaded) if loaded is not None else EstimatedTokens()
    rl_prompts = read_jsonl(rl_path, Prompt) if rl_path.is_file() else None
    return Corpus(samples, rl_prompts, loaded, _longest(samples, counter), counter.method)


def _longest(samples: list[Sample], counter: BatchCounter) -> int:
    """Tokens of the longest sample, with the two of `<think>` and its line break, which some templates leave to the
    completion. Samples that the template rejects are named by the formats, not here."""
    try:
        return max(counter.count(samples)) + 2
    except DataError:
        counts = []
        for sample in samples:
            with suppress(DataError):
                counts.append(counter(sample))
        return max(counts, default=0) + 2


def _write(folder: Path, chosen: Format, rendered: Rendered, origin: dict[str, Any]) -> Path:
    """Write everything into a folder beside the target and put it in its place at the end: whole or absent."""
    _check_replaceable(folder)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    make_folder(partial)
    for table in rendered.tables:
        write_table(partial / table.name, table)
    for name, text in rendered.texts.items():
        atomic_write_text(partial / name, text)
    write_jsonl(partial / LEFT_OUT, rendered.left_out)
    atomic_write_text(partial / README, _readme(chosen, rendered, origin))
    rows = {table.name: len(table.rows) for table in rendered.tables} | {LEFT_OUT: len(rendered.left_out)}
    names = [*rows, *rendered.texts, README]
    manifest = {
        "format": chosen.name,
        "tool": chosen.tool or None,
        **origin,
        "files": [_described(partial / name, rows.get(name)) for name in names],
        "left_out": dict(sorted(Counter(row.reason for row in rendered.left_out).items())),
        "notes": rendered.notes,
    }
    atomic_write_json(partial / MANIFEST, manifest)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return folder / MANIFEST


def _check_replaceable(folder: Path) -> None:
    """An earlier export may be replaced; anything else may not.

    Raises:
        DataError: the folder holds files that no export wrote.
    """
    if not folder.exists():
        return
    manifest = read_json(folder / MANIFEST)
    files = manifest.get("files", []) if isinstance(manifest, dict) and "format" in manifest else []
    ours = {MANIFEST, *(file["path"] for file in files)} if files else set()
    found = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else [folder.name]
    if foreign := [name for name in found if name not in ours]:
        raise DataError(f"{folder} holds {foreign[0]}, which no export wrote; name another --out, or empty the folder.")


def _described(path: Path, rows: int | None) -> dict[str, Any]:
    return {"path": path.name, "rows": rows, "bytes": path.stat().st_size, "sha256": sha256_file(path)}


def _readme(chosen: Format, rendered: Rendered, origin: dict[str, Any]) -> str:
    lines = [f"# SafeKeel corpus as {chosen.name}", "", f"Written by SafeKeel {origin['safekeel']}."]
    if chosen.tool:
        lines.append(f"Format as read by {chosen.tool}.")
    lines += ["", "## Files", "", *(f"- `{table.name}`: {len(table.rows)} rows" for table in rendered.tables)]
    lines += [f"- `{name}`" for name in rendered.texts]
    lines += [f"- `{LEFT_OUT}`: {len(rendered.left_out)} rows this format cannot hold, each with its reason"]
    lines += ["", "## Loading", "", rendered.loading, ""]
    if rendered.notes:
        lines += ["## Before training", "", *(f"- {note}" for note in rendered.notes), ""]
    return "\n".join(lines)
