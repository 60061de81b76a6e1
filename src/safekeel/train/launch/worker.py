"""One process of a sharded SFT run: `torchrun … -m safekeel.train.launch.worker JOB.json` (written by `torchrun.py`).

The same stage as `train/sft.py` in samples, batches (`packing.py`), loss (`token_loss.py`), optimizer, schedule and
files; native FSDP2 in place of the Trainer.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from pydantic import BaseModel, ConfigDict

from safekeel.corpus.sample import Sample
from safekeel.errors import DataError, EngineError, SafeKeelError
from safekeel.files import atomic_write_json
from safekeel.records import read_jsonl
from safekeel.train.launch import device as devices
from safekeel.train.launch import fsdp2, resume
from safekeel.train.launch.loss import ModelWithLoss
from safekeel.train.launch.memory import Activations
from safekeel.train.lora import LoraSettings
from safekeel.train.packing import Document, RowCollator, micro_batches, plan_steps
from safekeel.train.text import IGNORED, encode, labels

MAX_GRADIENT_NORM = 1.0  # the Trainer's default


class Job(BaseModel):
    """What the processes of a run have to know; plain data, checked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model_dir: Path
    samples: Path
    """`sft.jsonl` of a corpus."""
    folder: Path
    """Gets the checkpoints."""
    metrics: Path
    errors: Path
    """Gets `rank-N.json` of a process that fails."""
    learning_rate: float
    num_steps: int
    batch_size: int
    max_length: int
    """Tokens; longer samples are an error."""
    micro_tokens: int | None
    """Most tokens of one forward pass of one process; None = a process makes one pass per step."""
    save_every: int
    seed: int
    activations: Activations
    lora: LoraSettings | None
    resumed_step: int
    timeout_seconds: float
    """A process that waits longer for the others gives up."""


def read_documents(tokenizer: Any, samples: list[Sample], max_length: int) -> list[Document]:
    """The exact text of every sample.

    Raises:
        DataError: no samples, or samples that are too long (their number and the longest are named): a cut sample
            would teach the model to stop in the middle of a thought.
    """
    if not samples:
        raise DataError("The corpus holds no samples to train on; build it with `safekeel corpus build`.")
    encoded = [encode(tokenizer, sample.prompt, sample.thought, sample.answer) for sample in samples]
    documents = [Document([*row.prompt_ids, *row.completion_ids], labels(row)) for row in encoded]
    lengths = [len(document.input_ids) for document in documents]
    if num_long := sum(length > max_length for length in lengths):
        worst = lengths.index(max(lengths))
        raise DataError(
            f"{num_long} of {len(lengths)} samples are longer than {max_length} tokens, the longest "
            f"({samples[worst].id}) has {lengths[worst]}; raise sft.max_length or drop them."
        )
    return documents


def learning_rate_share(step: int, num_steps: int) -> float:
    """Share of the learning rate at a step: linear warm-up over at most 10 steps, then linearly to 0 (train/sft.py)."""
    warmup = min(10, num_steps // 10)
    if step < warmup:
        return step / warmup
    return max(0.0, (num_steps - step) / max(1, num_steps - warmup))


def train(job: Job, device: devices.Device, mine: torch.device) -> None:
    """All steps of this process."""
    from safekeel.chat import load_tokenizer

    tokenizer = load_tokenizer(job.model_dir)
    documents = read_documents(tokenizer, read_jsonl(job.samples, Sample), job.max_length)
    collate = RowCollator(documents, pad_id=tokenizer.pad_token_id or tokenizer.eos_token_id)
    mesh = dist.init_device_mesh(device.type, (dist.get_world_size(),))
    how = fsdp2.Sharding(mesh, mine, device.dtype, job.activations, job.lora, job.seed)
    module = fsdp2.sharded_model(job.model_dir, how)
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=job.learning_rate, weight_decay=0.0)
    if job.resumed_step:
        resume.restore(module, optimizer, job.folder, job.resumed_step)
    lengths = [len(document.input_ids) for document in documents]
    steps = plan_steps(len(documents), job.batch_size, job.num_steps, job.seed)
    groups, passes = micro_batches(steps, lengths, job.micro_tokens, dist.get_world_size())
    mine_only = groups[dist.get_rank() :: dist.get_world_size()]
    started = time.perf_counter()
    for step in range(job.resumed_step + 1, job.num_steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = job.learning_rate * learning_rate_share(step - 1, job.num_steps)
        # Dropout of adapters: the same after a resumption, and another mask on every process.
        torch.manual_seed((job.seed * job.num_steps + step) * dist.get_world_size() + dist.get_rank())
        learned = sum(_num_learned(documents[sample]) for sample in steps[step - 1])
        batches = [collate([{"samples": samples}]) for samples in mine_only[(step - 1) * passes : step * passes]]
        loss, norm = _step(module, optimizer, batches, max(1, learned), mine, step)
        _log(job, step, loss, norm, time.perf_counter() - started)
        if step % job.save_every == 0 or step == job.num_steps:
            resume.save(module, optimizer, tokenizer, job.model_dir, job.folder, step, job.lora)


def _num_learned(document: Document) -> int:
    """Labelled tokens; the first token of a document has nothing before it to be learned from."""
    return sum(label != IGNORED for label in document.labels[1:])


def _step(
    module: ModelWithLoss,
    optimizer: torch.optim.Optimizer,
    batches: list[dict[str, Any]],
    learned: int,
    mine: torch.device,
    step: int,
) -> tuple[float, float]:
    """One optimizer step; gives the mean loss over the labelled tokens of all processes, and the gradient's norm.

    Raises:
        EngineError: the loss or the gradient is not finite; the weights are left as they were.
    """
    total = torch.zeros((), device=mine)
    for batch in batches:
        loss = module(*(batch[name].to(mine) for name in ("input_ids", "labels", "position_ids"))) / learned
        (loss * dist.get_world_size()).backward()  # FSDP2 averages gradients over processes; the sum is meant
        total += loss.detach()
    dist.all_reduce(total)
    norm = torch.nn.utils.clip_grad_norm_(module.parameters(), MAX_GRADIENT_NORM)
    norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
    if not math.isfinite(float(total)) or not math.isfinite(float(norm)):
        raise EngineError(
            f"step {step}: the loss is {float(total)} and the gradient's norm {float(norm)}; expected finite numbers. "
            "Lower sft.learning_rate, and look at the samples of this step; the last checkpoint is unharmed."
        )
    optimizer.step()
    optimizer.zero_grad()
    return float(total), float(norm)


def _log(job: Job, step: int, loss: float, norm: float, seconds: float) -> None:
    if dist.get_rank() == 0:
        row = {"step": step, "loss": loss, "grad_norm": norm, "seconds": round(seconds, 2)}
        with job.metrics.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")


def main() -> None:
    """Run the job named on the command line; a failure is left in a file for the launcher."""
    job = Job.model_validate_json(Path(sys.argv[1]).read_text("utf-8"))
    rank, local_rank = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
    try:
        device = devices.find_device()
        with devices.process_group(device, local_rank, job.timeout_seconds) as mine:
            train(job, device, mine)
    except Exception as error:
        kind = type(error).__name__
        code = error.exit_code if isinstance(error, SafeKeelError) else None
        atomic_write_json(job.errors / f"rank-{rank}.json", {"kind": kind, "message": str(error), "exit_code": code})
        raise


if __name__ == "__main__":
    main()
