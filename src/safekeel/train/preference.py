"""Stage preference: DPO with SafeDPO's relabelling and margin on top of a fine-tuned model -> `checkpoints/`, `model/`.

    gather ─► relabel (safe ≻ unsafe) ─► tokenise ─► pairs.jsonl, rejected.jsonl ─► reference ─► DPO ─► checkpoints

It starts from a model that SFT has already taught safe reasoning, and that model is its reference: from the base, the
chosen texts are too unlikely for a preference to reach them. The pairs are text until `train.text` makes ids of them;
TRL's own templating would delete the reasoning of R1-style targets on both sides.

    safekeel train preference MODEL --corpus 10-corpus --out DIR
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safekeel.artifact import Stage, atomic_write_json
from safekeel.chat import load_tokenizer
from safekeel.corpus.sample import Sample
from safekeel.engines.base import Sampling
from safekeel.errors import DataError, UsageError
from safekeel.files import read_json
from safekeel.judges.base import Judge
from safekeel.progress import Progress
from safekeel.records import read_jsonl, write_jsonl
from safekeel.train.preference_config import PreferenceConfig
from safekeel.train.preference_data import Dropped, Gathered, Relabelled, Tokenised, reasons, relabel, tokenise
from safekeel.train.preference_sources import (
    Asking,
    corpus_pairs,
    file_pairs,
    jade_pairs,
    judged_files,
    nano_pairs,
    own_pairs,
    sources_of,
)
from safekeel.train.text import Encoded

STAGE, VERSION = "preference", "1"
PAIRS, REJECTED, REFERENCE, METRICS = "pairs.jsonl", "rejected.jsonl", "reference.json", "metrics.jsonl"
Say = Callable[[str], None]


def run(
    config: PreferenceConfig,
    stage: Stage,
    model_dir: Path,
    corpus: Path,
    progress: Progress,
    say: Say = lambda line: None,
    data_dir: Path | None = None,
    judge: Judge | None = None,
) -> None:
    """Fill the stage folder; continues from its last checkpoint.

    Args:
        judge: of the source `own`.

    Raises:
        UsageError: a benchmark was not given up, a judge is missing, or the batch sizes do not fit.
        DataError: no pair is left, or the tokenizer cannot be trained with.
        EngineError: the loss is not finite.
    """
    from safekeel.train.checkpoints import (
        complete_checkpoints,
        discard_incomplete,
        kept_rows,
        rising_loss,
        step_of,
    )
    from safekeel.train.sft import quiet
    from safekeel.train.text import check_trainable

    stage.begin()
    quiet()
    folder = stage.dir / "checkpoints"
    discard_incomplete(folder)
    resume = complete_checkpoints(folder)
    tokenizer = load_tokenizer(model_dir)
    notes = check_trainable(tokenizer)
    gathered = gather(config, corpus, data_dir, lambda: _asking(config, model_dir, judge), stage.dir, progress)
    relabelled = relabel(gathered.pairs)
    tokenised = tokenise(tokenizer, relabelled.pairs, config.max_length, config.safety_margin)
    dropped = [*gathered.dropped, *relabelled.dropped, *tokenised.dropped]
    _require_pairs(config, tokenised, dropped)
    write_jsonl(stage.dir / PAIRS, tokenised.pairs)
    write_jsonl(stage.dir / REJECTED, dropped)
    counts = _counts(gathered, relabelled, tokenised, dropped)
    warnings = [*gathered.warnings, *notes, *_shown(counts, config, say)]
    steps = num_steps(config, len(tokenised.rows))
    if not resume or step_of(resume[-1]) < steps:  # else a kill came after the last step
        replay = _replay_texts(config, tokenizer, corpus)
        _train(config, stage, model_dir, tokenizer, tokenised, replay, steps, progress)
    rising = rising_loss(kept_rows(stage.dir / METRICS, steps), STAGE)
    if rising:
        say(f"WARNING: {rising[0]}")
    _finish(stage, counts | {"steps": steps}, warnings + rising)


def _finish(stage: Stage, counts: dict[str, Any], warnings: list[str]) -> None:
    """The last checkpoint is the result; nothing that only a continued run needs is kept."""
    from safekeel.train.checkpoints import complete_checkpoints, drop_training_state

    checkpoints = complete_checkpoints(stage.dir / "checkpoints")
    shutil.copytree(checkpoints[-1], stage.dir / "model", dirs_exist_ok=True)
    for path in [stage.dir / "model", *checkpoints]:
        drop_training_state(path)
    (stage.dir / REFERENCE).unlink(missing_ok=True)
    outputs = [stage.dir / name for name in (PAIRS, REJECTED, METRICS, "model")]
    stage.finish([*outputs, *checkpoints], counts, warnings)


def gather(
    config: PreferenceConfig,
    corpus: Path,
    data_dir: Path | None,
    asking: Callable[[], Asking],
    folder: Path,
    progress: Progress,
) -> Gathered:
    """The pairs of all configured sources, in their order.

    Args:
        asking: opens the model and its judge; only the source `own` calls it.
        folder: keeps what the source `own` generates.

    Raises:
        UsageError, DataError, EngineError: as the sources.
    """
    samples = read_jsonl(corpus / "sft.jsonl", Sample)
    most = config.max_rejected_per_prompt
    found = Gathered()
    for name in config.sources or sources_of(samples):
        if name == "own":
            found.add(own_pairs(samples, asking(), folder, most, progress))
        elif name == "corpus":
            found.add(corpus_pairs(corpus, samples, most))
        elif name == "nano":
            found.add(nano_pairs(samples))
        else:
            found.add(jade_pairs(config.allow_benchmarks, data_dir))
    for file in config.files:
        found.add(file_pairs(Path(file)))
    return found


def _asking(config: PreferenceConfig, model_dir: Path, judge: Judge | None) -> Asking:
    from safekeel.engines import open_engine

    if judge is None:
        raise UsageError('preference.sources = ["own"] needs a judge of the model\'s answers; name one with --judge.')
    asked = config.own_answers
    sampling = Sampling(**asked.model_dump() | {"num_samples": asked.num_samples if asked.temperature > 0 else 1})
    return Asking(open_engine(f"hf:{model_dir}"), judge, sampling)


def stage_inputs(config: PreferenceConfig, model_dir: Path, corpus: Path) -> list[Path]:
    """What the stage reads, for its manifest and skip rule."""
    judged = [path for pair in judged_files(corpus) for path in pair]
    return [model_dir, corpus / "sft.jsonl", *judged, *(Path(file) for file in config.files)]


def num_steps(config: PreferenceConfig, num_pairs: int) -> int:
    """Optimizer steps of a run; the last batch of an epoch may be smaller."""
    return max(1, int(-(-num_pairs // config.batch_size) * config.num_epochs))


def _require_pairs(config: PreferenceConfig, tokenised: Tokenised, dropped: list[Dropped]) -> None:
    if tokenised.rows:
        return
    told = ", ".join(f"{reason} {count}" for reason, count in reasons(dropped).items()) or "the sources are empty"
    hints = {
        "too_long": f"raise preference.max_length (now {config.max_length})",
        "identical": "chosen and rejected must differ",
        "no_wrong_answer": "the corpus holds no answer that its judge called harmful; build it with a judge that can "
        "tell (--judge), or name other preference.sources or preference.files",
    }
    first = next(iter(reasons(dropped)), "")
    raise DataError(f"There is no preference pair to train on ({told}); {hints.get(first, 'see preference.sources')}.")


def _counts(gathered: Gathered, relabelled: Relabelled, done: Tokenised, dropped: list[Dropped]) -> dict[str, Any]:
    by_source: dict[str, int] = {}
    for pair in done.pairs:
        by_source[pair.source] = by_source.get(pair.source, 0) + 1
    return {
        "in": len(gathered.pairs) + len(gathered.dropped),
        "kept": len(done.pairs),
        "dropped": reasons(dropped),
        "flipped": relabelled.num_flipped,
        "unsafe_rejected": sum(not pair.rejected.safe for pair in done.pairs),
        "by_source": by_source,
        "tokens": sum(
            2 * len(row["prompt_ids"]) + len(row["chosen_ids"]) + len(row["rejected_ids"]) for row in done.rows
        ),
    }


def _shown(counts: dict[str, Any], config: PreferenceConfig, say: Say) -> list[str]:
    """Tell the user what the pairs are; what was left out for its length is also a warning."""
    told = ", ".join(f"{reason} {count}" for reason, count in counts["dropped"].items()) or "none"
    say(
        f"preference: {counts['kept']} pairs ({counts['unsafe_rejected']} safe over unsafe, {counts['flipped']} "
        f"flipped), {counts['tokens']} tokens; dropped: {told}"
    )
    num_long = counts["dropped"].get("too_long", 0)
    if not num_long:
        return []
    note = f"{num_long} pairs are longer than preference.max_length = {config.max_length} tokens and were left out"
    say(f"WARNING: {note}")
    return [note]


def _train(
    config: PreferenceConfig,
    stage: Stage,
    model_dir: Path,
    tokenizer: Any,
    tokenised: Tokenised,
    replay: list[Encoded],
    steps: int,
    progress: Progress,
) -> None:
    from safekeel.train.checkpoints import StageCallback, complete_checkpoints, kept_rows, step_of
    from safekeel.train.preference_setup import open_trainer
    from safekeel.train.sft import drop_printer

    folder, metrics = stage.dir / "checkpoints", stage.dir / METRICS
    resume = complete_checkpoints(folder)
    resumed_step = step_of(resume[-1]) if resume else 0
    earlier = read_json(stage.dir / REFERENCE)
    trainer, reference = open_trainer(config, model_dir, tokenizer, tokenised.rows, steps, folder, replay, earlier)
    atomic_write_json(stage.dir / REFERENCE, reference)
    drop_printer(trainer)
    trainer.require_room_for_run(config.num_checkpoints - len(resume))
    trainer.add_callback(StageCallback(metrics, STAGE, progress, resumed_step))
    trainer.count_on(kept_rows(metrics, resumed_step))
    trainer.train(resume_from_checkpoint=str(resume[-1]) if resume else None)


def _replay_texts(config: PreferenceConfig, tokenizer: Any, corpus: Path) -> list[Encoded]:
    """The gauge's texts: `num_gauge_texts` of the corpus' replay answers, evenly over it."""
    from safekeel.train.text import encode

    samples = [sample for sample in read_jsonl(corpus / "sft.jsonl", Sample) if sample.role == "replay"]
    every = max(1, len(samples) // max(1, config.num_gauge_texts))
    chosen = samples[::every][: config.num_gauge_texts]
    texts = [encode(tokenizer, sample.prompt, sample.thought, sample.answer) for sample in chosen]
    return [text for text in texts if len(text.prompt_ids) + len(text.completion_ids) <= config.max_length]
