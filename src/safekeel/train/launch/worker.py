"""One process of a sharded SFT run: `torchrun … -m safekeel.train.launch.worker JOB.json`; `sharded.py` writes the job.

The same stage as `train/sft.py` in samples (`sft_data.py`), batches (`packing.py`), loss (`token_loss.py`), optimizer,
schedule and files; native FSDP2 in place of the Trainer.
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
from torch import Tensor

from safekeel.corpus.sample import Sample
from safekeel.errors import EngineError, SafeKeelError
from safekeel.files import atomic_write_json
from safekeel.records import read_jsonl
from safekeel.train.disk import CONTINUE, no_space
from safekeel.train.launch import device as devices
from safekeel.train.launch import fsdp2, resume
from safekeel.train.launch.loss import ModelWithLoss
from safekeel.train.launch.work import kept_activations
from safekeel.train.packing import Document, RowCollator, micro_batches, plan_steps
from safekeel.train.sft import SftConfig
from safekeel.train.sft_data import prepare
from safekeel.train.text import IGNORED

MAX_GRADIENT_NORM = 1.0  # the Trainer's default
INPUTS = ("input_ids", "labels", "position_ids", "loss_weights")


class Job(BaseModel):
    """What the processes of a run have to know; plain data, checked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: SftConfig
    model_dir: Path
    samples: Path
    """`sft.jsonl` of a corpus."""
    stage_dir: Path
    num_steps: int
    resumed_step: int
    timeout_seconds: float

    @property
    def folder(self) -> Path:
        return self.stage_dir / "checkpoints"

    @property
    def metrics(self) -> Path:
        return self.stage_dir / "metrics.jsonl"

    @property
    def save_every(self) -> int:
        return -(-self.num_steps // self.config.num_checkpoints)


def number_format(config: SftConfig, device: devices.Device) -> torch.dtype:
    """Of forward and backward pass."""
    return {"fp32": torch.float32, "bf16": torch.bfloat16}.get(config.precision, device.dtype)


class Run:
    """The state of one process between steps."""

    def __init__(self, job: Job, device: devices.Device, mine: torch.device) -> None:
        from safekeel.chat import load_tokenizer

        config = job.config
        self.job, self.mine = job, mine
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self.tokenizer = load_tokenizer(job.model_dir)
        samples = read_jsonl(job.samples, Sample)
        self.documents = prepare(self.tokenizer, samples, config.max_length, config.key_sentence_weight).documents
        how = fsdp2.Sharding(
            dist.init_device_mesh(device.type, (self.world,)),
            mine,
            number_format(config, device),
            kept_activations(config.activation_checkpointing, config.activation_offload, not device.is_cpu),
            config.lora,
            config.seed,
        )
        self.module = fsdp2.sharded_model(job.model_dir, how)
        self.optimizer = new_optimizer(self.module, config)
        if job.resumed_step:
            resume.restore(self.module, self.optimizer, job.folder, job.resumed_step)
        self.steps = plan_steps(len(self.documents), config.batch_size, job.num_steps, config.seed)
        lengths = [len(document.input_ids) for document in self.documents]
        self.groups, self.passes = micro_batches(self.steps, lengths, config.pass_tokens(), self.world)
        pad = self.tokenizer.pad_token_id
        self.collate = RowCollator(self.documents, self.tokenizer.eos_token_id if pad is None else pad)

    def batches(self, step: int) -> list[dict[str, Tensor]]:
        """This process' forward passes of a step (from 1)."""
        mine = self.groups[self.rank :: self.world][(step - 1) * self.passes : step * self.passes]
        return [self.collate([{"samples": samples}]) for samples in mine]

    def train_step(self, step: int) -> tuple[float, float]:
        """One optimizer step; gives the mean loss over the labelled tokens of all processes, and the gradient's norm.

        Raises:
            EngineError: the loss or the gradient is not finite; the weights are left as they were.
        """
        # Dropout of adapters: the same after a resumption, and another mask on every process.
        torch.manual_seed((self.job.config.seed * self.job.num_steps + step) * self.world + self.rank)
        learned = max(1, sum(num_learned(self.documents[sample]) for sample in self.steps[step - 1]))
        total = torch.zeros((), device=self.mine)
        for batch in self.batches(step):
            loss = self.module(**{name: batch[name].to(self.mine) for name in INPUTS if name in batch}) / learned
            (loss * self.world).backward()  # FSDP2 averages gradients over processes; the sum is meant
            total += loss.detach()
        dist.all_reduce(total)
        norm = torch.nn.utils.clip_grad_norm_(self.module.parameters(), MAX_GRADIENT_NORM)
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        if not math.isfinite(float(total)) or not math.isfinite(float(norm)):
            raise EngineError(
                f"The loss is {float(total)} and the gradient's norm {float(norm)} at step {step}; expected finite "
                "numbers. Complete checkpoints are kept. Lower sft.learning_rate, or look for a damaged base or sample."
            )
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(total), float(norm)


def num_learned(document: Document) -> int:
    """Labelled tokens; the first token of a document has nothing before it to be learned from."""
    return sum(label != IGNORED for label in document.labels[1:])


def new_optimizer(module: ModelWithLoss, config: SftConfig) -> torch.optim.AdamW:
    """AdamW as the Trainer sets it up: weight decay on matrices only, not on norms and biases."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in trained if parameter.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [parameter for parameter in trained if parameter.ndim == 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=config.learning_rate)


def learning_rate_share(config: SftConfig, step: int, num_steps: int) -> float:
    """Share of the learning rate at a step (from 0): transformers' schedules after train/sft.py's warm-up."""
    warmup = min(10, num_steps // 10)
    if step < warmup:
        return step / warmup
    progress = (step - warmup) / max(1, num_steps - warmup)
    if config.scheduler == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * progress))
    return 1.0 - progress if config.scheduler == "linear" else 1.0


def train(job: Job, device: devices.Device, mine: torch.device) -> None:
    """All steps of this process, from the one to continue from."""
    run, started = Run(job, device, mine), time.perf_counter()
    for step in range(job.resumed_step + 1, job.num_steps + 1):
        rate = job.config.learning_rate * learning_rate_share(job.config, step - 1, job.num_steps)
        for group in run.optimizer.param_groups:
            group["lr"] = rate
        loss, norm = run.train_step(step)
        if run.rank == 0:
            row: dict[str, Any] = {"step": step, "loss": loss, "grad_norm": norm, "learning_rate": rate}
            row |= {"seconds": round(time.perf_counter() - started, 2)}
            with job.metrics.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(row) + "\n")
        if step % job.save_every == 0 or step == job.num_steps:
            with no_space(job.folder, CONTINUE):
                resume.save(run.module, run.optimizer, run.tokenizer, job.model_dir, job.folder, step, job.config.lora)


def main() -> None:
    """Run the job named on the command line; a failure is left in a file for the launcher."""
    job = Job.model_validate_json(Path(sys.argv[1]).read_text("utf-8"))
    rank, local_rank = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
    try:
        device = devices.find_device()
        with devices.process_group(device, local_rank, job.timeout_seconds) as mine:
            train(job, device, mine)
    except Exception as error:
        code = error.exit_code if isinstance(error, SafeKeelError) else None
        row = {"kind": type(error).__name__, "message": str(error), "exit_code": code}
        atomic_write_json(job.stage_dir / "errors" / f"rank-{rank}.json", row)
        raise


if __name__ == "__main__":
    main()
