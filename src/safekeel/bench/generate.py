"""Generate completions for a list of prompts into `completions.jsonl`, row by row, continuing after a kill."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from safekeel.engines.base import Engine, Sampling
from safekeel.records import Completion, Prompt, append_jsonl, recover_jsonl


def generate(
    engine: Engine,
    prompts: list[Prompt],
    sampling: Sampling,
    path: Path,
    progress: Callable[[str, int, int, float], None] | None = None,
    label: str = "generate",
) -> list[Completion]:
    """Completions of all prompts in prompt order; those already in `path` are not generated again.

    The caller guarantees (through `Stage.begin`) that rows in `path` stem from the same model, prompts and sampling.
    """
    done = {(row.prompt_id, row.sample): row for row in (recover_jsonl(path, Completion) if path.exists() else [])}
    missing = [p for p in prompts if any((p.id, sample) not in done for sample in range(sampling.num_samples))]
    count = len(done)

    def keep(row: Completion) -> None:
        nonlocal count
        if (row.prompt_id, row.sample) in done:
            return
        append_jsonl(path, row)
        done[row.prompt_id, row.sample] = row
        count += 1
        if progress is not None:
            progress(label, count, len(prompts) * sampling.num_samples, 0.0)

    path.touch()
    if missing:
        engine.generate(missing, sampling, keep)
    return [done[p.id, sample] for p in prompts for sample in range(sampling.num_samples)]
