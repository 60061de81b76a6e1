"""Generate completions into `completions.jsonl`, row by row; what was generated before is found again by its key.

The key (`engines.base.generation_key`) holds everything that decides the text: weights or revision, rendered prompt,
template, sampling, seed, sample and thinking mode. So continuing after a kill, asking for more items, and taking rows
from another folder are all joins by key; a model trained further shares none with its predecessor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from safekeel.engines.base import Engine, Sampling, error_row, generation_key
from safekeel.engines.ranking import require_ranking
from safekeel.errors import DataError
from safekeel.progress import Progress
from safekeel.records import Completion, Prompt, append_jsonl, read_jsonl, recover_jsonl, write_jsonl

COMPLETIONS = "completions.jsonl"
Row = tuple[str, int]


def generate(
    engine: Engine,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    path: Path,
    progress: Progress | None = None,
    label: str = "generate",
    *,
    on_row: Callable[[Completion], None] | None = None,
    reuse: Iterable[Path] = (),
) -> list[Completion]:
    """Completions of all prompts in prompt order, each prompt's samples together.

    Args:
        path: gets the rows as they come. Rows in it (and in `unused_rows(path)`) are not generated again; those that
            this call has no use for are moved there, never deleted.
        on_row: called with every row, those found again included.
        reuse: folders of other evaluations to take rows from, by key.

    Raises:
        DataError: a file of rows is malformed, or two prompts share an id.
        UsageError: options are to be ranked by log-likelihood, and the engine cannot.
        EngineError: the engine gave up; finished rows are in `path`, and the same call continues.
    """
    if len({prompt.id for prompt in prompts}) != len(prompts):
        raise DataError(f"{path}: two prompts share an id; ids must be unique within an evaluation.")
    require_ranking(engine, prompts)
    keys, unrenderable = _keys(engine, prompts, sampling)
    done = _found_again(path, keys, reuse)
    path.touch()
    cut_off = sum(row.finish == "length" for row in done.values())
    for row in done.values():
        if on_row is not None:
            on_row(row)

    def keep(row: Completion) -> None:
        nonlocal cut_off
        place = (row.prompt_id, row.sample)
        if place in done:
            return
        row = row.model_copy(update={"key": keys.get(place)})
        append_jsonl(path, row)
        done[place] = row
        if on_row is not None:
            on_row(row)
        cut_off += row.finish == "length"
        if progress is not None:
            note = f"{cut_off / len(done):.1%} cut off" if cut_off else ""
            progress(label, len(done), len(prompts) * sampling.num_samples, note=note)

    for row in unrenderable:
        keep(row)
    if missing := [p for p in prompts if any((p.id, sample) not in done for sample in range(sampling.num_samples))]:
        engine.generate(missing, sampling, keep)
    return [done[prompt.id, sample] for prompt in prompts for sample in range(sampling.num_samples)]


def _keys(engine: Engine, prompts: Sequence[Prompt], sampling: Sampling) -> tuple[dict[Row, str], list[Completion]]:
    """The key of every completion to make; and an error row where the engine cannot even render the prompt."""
    keys: dict[Row, str] = {}
    failed: list[Completion] = []
    for prompt in prompts:
        try:
            text = engine.rendered(prompt, sampling)
        except DataError as error:
            failed += [error_row(prompt, sample, engine.name, str(error)) for sample in range(sampling.num_samples)]
            continue
        for sample in range(sampling.num_samples):
            keys[prompt.id, sample] = generation_key(engine.model_id, text, sampling, sample)
    return keys, failed


def _found_again(path: Path, keys: dict[Row, str], reuse: Iterable[Path]) -> dict[Row, Completion]:
    """The rows that need not be generated; `path` then holds exactly those of them that were found in its folder.

    A failed generation is not found again, so running a command again asks once more for what failed.
    """
    unused = unused_rows(path)
    here, aside = (recover_jsonl(file, Completion) if file.exists() else [] for file in (path, unused))
    others = [row for folder in reuse for row in read_jsonl(folder / COMPLETIONS, Completion)]
    by_key = {row.key: row for row in [*others, *aside, *here] if row.key and row.finish != "error"}
    done = {
        (prompt_id, sample): by_key[key].model_copy(update={"prompt_id": prompt_id, "sample": sample})
        for (prompt_id, sample), key in keys.items()
        if key in by_key
    }
    if here != list(done.values()):
        wanted = set(keys.values())
        left = {row.key: row for row in [*aside, *here] if row.key in by_key and row.key not in wanted}
        if left:
            write_jsonl(unused, left.values())
        write_jsonl(path, done.values())
    return done


def unused_rows(path: Path) -> Path:
    """Where rows go that an earlier evaluation in the same folder had and the present one has no use for."""
    return path.with_name(f"{path.stem}.unused.jsonl")
