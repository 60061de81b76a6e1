"""datatrove's MinHash deduplication on the rows of `corpus_speed.py`; run by datatrove's own Python.

    python corpus_speed_datatrove.py ROWS.jsonl FOLDER NUM_BUCKETS HASHES_PER_BUCKET WORKERS

Its shingles are words; here they are characters, as in ours, through the tokenizer it offers a place for. Writes the
ids of the rows it keeps to FOLDER/kept.txt and the seconds of each stage to FOLDER/stages.json.
"""

from __future__ import annotations

import gzip
import json
import sys
import time
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import (
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter


class Characters:
    """In the place of a word tokenizer: every character but blanks."""

    def word_tokenize(self, text: str) -> list[str]:
        return [character for character in text if not character.isspace()]


class CharacterSignature(MinhashDedupSignature):
    """Stage 1 with character shingles."""

    def __init__(self, output_folder: str, config: MinhashConfig) -> None:
        super().__init__(output_folder, config)
        self.word_tokenizer = Characters()


def main() -> None:
    rows, folder = Path(sys.argv[1]), Path(sys.argv[2])
    buckets, hashes, workers = map(int, sys.argv[3:6])
    config = MinhashConfig(n_grams=5, num_buckets=buckets, hashes_per_bucket=hashes)
    config.norm_config.norm_numbers = False
    parts = split(rows, folder / "input", workers)
    names = [str(folder / name) for name in ("signatures", "buckets", "remove", "kept")]
    signatures, pairs, remove, kept = names

    def reader() -> JsonlReader:
        return JsonlReader(str(parts), text_key="text", id_key="id")

    stages = {
        "signatures": ([reader(), CharacterSignature(signatures, config)], workers),
        "buckets": ([MinhashDedupBuckets(signatures, pairs, config=config)], buckets),
        "clusters": ([MinhashDedupCluster(pairs, remove, config=config)], 1),
        "filter": ([reader(), MinhashDedupFilter(remove), JsonlWriter(kept)], workers),
    }
    seconds = {}
    for name, (pipeline, tasks) in stages.items():
        started = time.perf_counter()
        LocalPipelineExecutor(pipeline, tasks=tasks, workers=workers, logging_dir=str(folder / "logs" / name)).run()
        seconds[name] = time.perf_counter() - started
    (folder / "stages.json").write_text(json.dumps(seconds))
    with (folder / "kept.txt").open("w") as file:
        for path in sorted(Path(kept).glob("*.jsonl.gz")):
            with gzip.open(path, "rt", encoding="utf-8") as lines:
                file.writelines(json.loads(line)["id"] + "\n" for line in lines)


def split(rows: Path, folder: Path, parts: int) -> Path:
    """One file per worker, in order, so that the first of two copies has the lower number. Not timed."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = rows.read_text("utf-8").splitlines(keepends=True)
    size = -(-len(lines) // parts)
    for part in range(parts):
        (folder / f"{part:05d}.jsonl").write_text("".join(lines[part * size : (part + 1) * size]), "utf-8")
    return folder


if __name__ == "__main__":
    main()
