"""Stage rounds/NN/10-corpus: the corpus of the round before, and safe reasoning for what broke the model since."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

from safekeel.artifact import Stage
from safekeel.corpus.nano_build import clean, write
from safekeel.corpus.nano_source import paired_requests
from safekeel.corpus.sample import Sample
from safekeel.engines.base import Engine
from safekeel.judges.base import Judge
from safekeel.nano.words import Words
from safekeel.progress import Progress
from safekeel.records import Prompt, read_jsonl, write_jsonl

STAGE, VERSION = "corpus-round", "1"
GENERATED = "generated"


def training_goals(words: Words, num: int, seed: int, number: int) -> list[tuple[Prompt, Prompt]]:
    """(risky request, harmless twin) of the training side, undisguised; others in every round."""
    found = []
    for risky, twin in paired_requests(words, "sft", num, 0.0, random.Random(f"{seed}/round {number}")):
        ids = [f"round-{number:02d}/{prompt.id}" for prompt in (risky, twin)]
        found.append((risky.model_copy(update={"id": ids[0]}), twin.model_copy(update={"id": ids[1]})))
    return found


def run(
    stage: Stage,
    before: Path,
    attack: Path,
    engine: Engine,
    judge: Judge,
    held_out: list[Prompt],
    progress: Progress,
) -> int:
    """Fill the stage folder with `sft.jsonl`, `rl.jsonl`, `rejected.jsonl`; returns the number of new samples.

    Args:
        before: the corpus folder of the round before.
        attack: the folder with this round's finds and twins.
        engine: the base model, which writes.
        held_out: all validation and test items.
    """
    stage.begin()
    generated = stage.dir / GENERATED
    generated.mkdir(exist_ok=True)
    earlier = read_jsonl(before / "sft.jsonl", Sample)
    finds, twins = (read_jsonl(attack / name, Prompt) for name in ("finds.jsonl", "twins.jsonl"))
    new = []
    for risky, twin in zip(finds, twins, strict=True):
        new.append(Sample(id=risky.id, role="risky", prompt=risky, pair=twin.id))
        new.append(Sample(id=twin.id, role="counter", prompt=twin, pair=risky.id))
    kept, rejected = clean(new, held_out)
    known = {sample.prompt.messages for sample in earlier}
    written = write(
        [sample for sample in kept if sample.prompt.messages not in known], engine, judge, generated, progress
    )
    outputs = [stage.dir / name for name in ("sft.jsonl", "rl.jsonl", "rejected.jsonl")]
    write_jsonl(outputs[0], [*earlier, *written.samples])
    shutil.copyfile(before / "rl.jsonl", outputs[1])
    write_jsonl(outputs[2], [*rejected, *written.rejected])
    counts = {"in": len(new), "kept": len(written.samples), "earlier": len(earlier), "dropped": len(rejected)}
    stage.finish(outputs, counts)
    return len(written.samples)
