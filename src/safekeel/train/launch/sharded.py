"""Stage sft past one device: the same samples, batches and loss as `train/sft.py`, the model spread with FSDP2.

    stage -> job.json -> torchrun -> worker.py on every device -> checkpoints/checkpoint-N, metrics.jsonl

With `packing = true` both run the same plan, so the loss curves agree (within 1e-4; tested with two processes on CPU
against the Trainer). Not available here: the KL anchor, which needs a second model, and FlashAttention's single row.
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import Field

from safekeel.artifact import Stage
from safekeel.config import StageConfig
from safekeel.corpus.sample import Sample
from safekeel.errors import ConfigError, UsageError
from safekeel.files import atomic_write_text
from safekeel.progress import Progress
from safekeel.records import read_jsonl
from safekeel.train.disk import require_room
from safekeel.train.regimes import unusual_rate
from safekeel.train.sft import SftConfig, num_steps, quiet

JOB, LOG, ERRORS = "job.json", "processes.log", "errors"


class LaunchConfig(StageConfig):
    """Processes and devices. The first group starts a run; the second only serves the estimate of `--dry-run`."""

    processes: int = Field(1, ge=1)
    """Per machine: one per device."""
    machines: int = Field(1, ge=1)
    timeout_seconds: float = Field(1800.0, gt=0)
    """A process that waits longer for the others gives up. 30 minutes: longer than a 70B checkpoint takes to write."""

    device_gib: float | None = Field(None, gt=0)
    """Memory of one device; None = asked of the device here."""
    device_tflops: float | None = Field(None, gt=0)
    """Peak of one device in the format of training, 10^12 operations per second."""
    utilisation: float = Field(0.35, gt=0, le=1)
    """Share of the peak that training reaches (MFU)."""
    tokens_per_second: float | None = Field(None, gt=0)
    """Measured training tokens per second of one device; takes the place of peak times utilisation."""
    generated_per_second: float | None = Field(None, gt=0)
    """Measured tokens per second of one device while completions are sampled."""
    price_per_hour: float | None = Field(None, ge=0)
    """Of one device, in any currency."""

    @property
    def world(self) -> int:
        return self.processes * self.machines


def run(
    config: SftConfig, launch: LaunchConfig, stage: Stage, model_dir: Path, corpus: Path, progress: Progress
) -> list[str]:
    """Fill the stage folder as `sft.run` does; continues from the last complete checkpoint.

    Returns:
        What the user should know, as `sft.run`.

    Raises:
        ConfigError: the configuration asks for what a sharded run cannot do.
        SafeKeelError: a process failed; none is left behind.
    """
    from safekeel.chat import load_tokenizer
    from safekeel.train.checkpoints import complete_checkpoints, kept_rows, rising_loss
    from safekeel.train.launch import resume, torchrun
    from safekeel.train.launch.worker import Job
    from safekeel.train.sft_data import TOO_LONG, prepare, set_apart
    from safekeel.train.text import check_trainable

    require_supported(config, launch)
    stage.begin()
    quiet()
    folder, errors = stage.dir / "checkpoints", stage.dir / ERRORS
    for path in (folder, errors):
        path.mkdir(exist_ok=True)
    for path in errors.iterdir():
        path.unlink()
    tokenizer = load_tokenizer(model_dir)
    notes = check_trainable(tokenizer) + unusual_rate(config)
    samples = read_jsonl(corpus / "sft.jsonl", Sample)
    prepared = prepare(tokenizer, samples, config.max_length, config.key_sentence_weight)
    notes += set_apart(prepared, stage.dir, drop=config.too_long == "drop")
    job = Job(
        config=config,
        model_dir=model_dir.absolute(),
        samples=(corpus / "sft.jsonl").absolute(),
        stage_dir=stage.dir.absolute(),
        num_steps=num_steps(config, len(prepared.documents)),
        resumed_step=resume.prepare(folder),
        timeout_seconds=launch.timeout_seconds,
    )
    follow = _Follow(job.metrics, job.resumed_step, job.num_steps, progress)
    if job.resumed_step < job.num_steps:  # else a kill came after the last step
        remaining = config.num_checkpoints - len(complete_checkpoints(folder))
        require_room(folder, room_needed(config, model_dir, remaining), remaining)
        atomic_write_text(stage.dir / JOB, job.model_dump_json(indent=2))
        torchrun.run(torchrun.command(stage.dir / JOB, launch.processes), errors, stage.dir / LOG, follow)
    resume.drop_state(folder)
    notes += rising_loss(kept_rows(job.metrics, job.num_steps), "sft")
    counts = prepared.counts(job.num_steps) | {"processes": launch.processes}
    stage.finish([*complete_checkpoints(folder), job.metrics, stage.dir / TOO_LONG], counts, notes)
    return notes


def room_needed(config: SftConfig, model_dir: Path, num_checkpoints: int) -> int:
    """Bytes that the checkpoints to come take at most: models in the format of the base, and the state to continue
    from, twice while the newer one is written."""
    from safekeel.train.launch.fsdp2 import stored_dtype

    stored = sum(path.stat().st_size for path in model_dir.glob("*.safetensors"))
    weights = stored // stored_dtype(model_dir).itemsize
    per_weight = 12 if config.lora is None else 4  # float32, and AdamW's moments of what is trained
    return num_checkpoints * stored + 2 * per_weight * weights


def require_supported(config: SftConfig, launch: LaunchConfig) -> None:
    """
    Raises:
        ConfigError: an option that only the single-device stage has.
        UsageError: several machines, which this command cannot start.
    """
    if launch.machines > 1:
        raise UsageError(
            f"launch.machines is {launch.machines}: this command starts the processes of one machine. Start "
            f"`torchrun --nnodes {launch.machines} --nproc-per-node {launch.processes} --rdzv-backend c10d "
            "--rdzv-endpoint HOST:PORT -m safekeel.train.launch.worker JOB.json` on each, the run folder on a shared "
            "disk."
        )
    if not config.packing:
        raise ConfigError("a sharded run shares out planned batches; set sft.packing=true.")
    if config.anchor_weight > 0:
        raise ConfigError("sft.anchor_weight needs the base as a second model; a sharded run has one. Set it to 0.")
    if config.attention not in (None, "sdpa"):
        raise ConfigError(f"sft.attention {config.attention!r}: a sharded run uses sdpa; leave it out.")


class _Follow:
    """Reports progress from the rows that process 0 writes; cuts the rows after the step to continue from."""

    def __init__(self, metrics: Path, resumed_step: int, num_steps: int, progress: Progress) -> None:
        self.metrics, self.num_steps, self.progress, self.seen = metrics, num_steps, progress, resumed_step
        from safekeel.train.checkpoints import kept_rows, write_rows

        write_rows(metrics, kept_rows(metrics, resumed_step))

    def __call__(self) -> None:
        with self.metrics.open("rb") as stream:  # only the end: this runs several times a second
            stream.seek(max(0, self.metrics.stat().st_size - 512))
            whole = [line for line in stream.read().decode("utf-8").splitlines() if line.endswith("}")]
        if whole and whole[-1].startswith("{"):
            row = json.loads(whole[-1])
            if row["step"] > self.seen:
                self.seen = row["step"]
                self.progress("sft", self.seen, self.num_steps, row["loss"])
