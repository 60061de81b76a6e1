"""SFT tokens per second: our stage, stock TRL with its defaults, and a bare PyTorch loop on the same batches.

    python benchmarks/sft_speed.py [--corpus out/nano/10-corpus] [--steps 30] [--rounds 2] [--out docs/results/training]

One thread, one process, one run: every contender trains the same nano model for one epoch on the same samples (the
corpus' real length mix), 32 per step, in turn, round after round. Only non-padding tokens count, and only the time
between the first step's start and the last step's end. CPU seconds are quoted beside seconds, because other processes
share the machine. Prints and writes `sft_speed.json` and `sft_speed.md`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import mean
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # before torch is imported

import torch  # noqa: E402
from transformers import AutoModelForCausalLM, TrainerCallback, get_scheduler  # noqa: E402
from trl import SFTConfig as TrlConfig  # noqa: E402
from trl import SFTTrainer  # noqa: E402

from safekeel.chat import load_tokenizer  # noqa: E402
from safekeel.corpus.sample import Sample  # noqa: E402
from safekeel.nano.model import shipped_checkpoint  # noqa: E402
from safekeel.records import read_jsonl  # noqa: E402
from safekeel.train import sft  # noqa: E402
from safekeel.train.packing import Document  # noqa: E402
from safekeel.train.sft_batches import batches  # noqa: E402
from safekeel.train.sft_data import as_dataset, prepare  # noqa: E402
from safekeel.train.text import IGNORED  # noqa: E402
from safekeel.train.token_loss import head_of, label_nll  # noqa: E402

BATCH, LEARNING_RATE, MAX_GRADIENT_NORM = 32, 3e-4, 1.0
DEFAULT = "ours (default: packed)"


class Stopwatch(TrainerCallback):
    """Wall-clock and CPU seconds from the first step's start to the last one's end; the saving after it is left out."""

    def __init__(self) -> None:
        self.started: tuple[float, float] | None = None
        self.ended = (0.0, 0.0)

    def on_step_begin(self, *arguments: Any, **named: Any) -> None:
        self.started = self.started or (time.perf_counter(), time.process_time())

    def on_step_end(self, *arguments: Any, **named: Any) -> None:
        self.ended = time.perf_counter(), time.process_time()

    def seconds(self) -> tuple[float, float]:
        assert self.started is not None
        return self.ended[0] - self.started[0], self.ended[1] - self.started[1]


def stock(documents: list[Document], steps: int, folder: Path, changes: dict[str, Any]) -> tuple[float, float]:
    """TRL's SFTTrainer with its defaults, except for the number of samples per step and what CPU needs."""
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(shipped_checkpoint(), dtype=torch.float32),
        args=TrlConfig(
            output_dir=str(folder),
            max_steps=steps,
            per_device_train_batch_size=BATCH,
            learning_rate=LEARNING_RATE,
            save_strategy="no",
            use_cpu=True,
            bf16=False,
            report_to="none",
            disable_tqdm=True,
            **changes,
        ),
        train_dataset=as_dataset(documents),
        processing_class=load_tokenizer(shipped_checkpoint()),
    )
    return timed(trainer)


def ours(documents: list[Document], steps: int, folder: Path, packing: bool) -> tuple[float, float]:
    """The stage's own trainer."""
    config = sft.SftConfig(packing=packing, batch_size=BATCH, learning_rate=LEARNING_RATE, num_checkpoints=1)
    tokenizer = load_tokenizer(shipped_checkpoint())
    return timed(sft.open_trainer(config, shipped_checkpoint(), tokenizer, documents, steps, folder))


def timed(trainer: Any) -> tuple[float, float]:
    watch = Stopwatch()
    sft.drop_printer(trainer)
    trainer.add_callback(watch)
    trainer.train()
    return watch.seconds()


def bare(documents: list[Document], steps: int, folder: Path) -> tuple[float, float]:
    """A loop of a dozen lines on the batches that our packed stage trains on, in its order."""
    config = sft.SftConfig(batch_size=BATCH, learning_rate=LEARNING_RATE)
    model = AutoModelForCausalLM.from_pretrained(shipped_checkpoint(), dtype=torch.float32).train()
    given = batches(config, documents, load_tokenizer(shipped_checkpoint()), model, steps)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.0, fused=True)
    schedule = get_scheduler("linear", optimizer, min(10, steps // 10), steps)
    started = time.perf_counter(), time.process_time()
    for row in given.dataset:
        batch = given.collator([row])
        hidden = model.model(
            input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False
        ).last_hidden_state
        learnt = batch["labels"][:, 1:] != IGNORED
        nll, _ = label_nll(hidden[:, :-1][learnt], head_of(model), batch["labels"][:, 1:][learnt])
        nll.mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRADIENT_NORM)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return time.perf_counter() - started[0], time.process_time() - started[1]


CONTENDERS: dict[str, Callable[[list[Document], int, Path], tuple[float, float]]] = {
    "stock TRL": lambda documents, steps, folder: stock(documents, steps, folder, {}),
    "stock TRL, no recomputation": lambda documents, steps, folder: stock(
        documents, steps, folder, {"gradient_checkpointing": False}
    ),
    DEFAULT: lambda documents, steps, folder: ours(documents, steps, folder, packing=True),
    "ours, packing off": lambda documents, steps, folder: ours(documents, steps, folder, packing=False),
    "bare PyTorch": bare,
}


def measure(corpus: Path, steps: int, rounds: int) -> dict[str, Any]:
    tokenizer = load_tokenizer(shipped_checkpoint())
    samples = read_jsonl(corpus / "sft.jsonl", Sample)[: steps * BATCH]
    steps = len(samples) // BATCH
    documents = prepare(tokenizer, samples[: steps * BATCH], 512).documents
    tokens = sum(len(document.input_ids) for document in documents)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in CONTENDERS}
    with tempfile.TemporaryDirectory() as folder:
        bare(documents[: 2 * BATCH], 2, Path(folder))  # imports and allocator, for all of them
        for number in range(rounds):
            for name, contender in CONTENDERS.items():
                times[name].append(contender(documents, steps, Path(folder) / f"{name}-{number}"))
                print(f"  {name}: {tokens / times[name][-1][0]:,.0f} tokens/s", flush=True)
    return {
        "samples": len(documents),
        "steps": steps,
        "tokens": tokens,
        "labelled": sum(label != IGNORED for document in documents for label in document.labels),
        "rounds": rounds,
        "seconds": times,
    }


def rates(found: dict[str, Any], which: int) -> dict[str, float]:
    """Mean tokens per second (`which` 0) or per CPU second (1)."""
    return {name: found["tokens"] / mean(row[which] for row in rows) for name, rows in found["seconds"].items()}


def as_markdown(found: dict[str, Any]) -> str:
    wall, cpu = rates(found, 0), rates(found, 1)
    machine = found["machine"]
    lines = [
        f"SFT of the nano model (2.0 M parameters) on {found['samples']:,} samples of its corpus, {found['tokens']:,} "
        f"tokens ({found['labelled'] / found['tokens']:.0%} labelled), {BATCH} samples per step, {found['steps']} "
        f"steps, {found['rounds']} rounds in turn. `python benchmarks/sft_speed.py`, {machine['date']}, one thread of "
        f"{machine['cores']} cores, torch {machine['torch']}, TRL {machine['trl']}, load {machine['load']:.1f} before "
        "the run: compare the ratios, not the rates.",
        "",
        "| | tokens/s | tokens per CPU second | CPU: times stock TRL | CPU: share of bare PyTorch |",
        "|---|---|---|---|---|",
    ]
    for name in found["seconds"]:
        lines.append(
            f"| {name} | {wall[name]:,.0f} | {cpu[name]:,.0f} | {cpu[name] / cpu['stock TRL']:.2f} | "
            f"{cpu[name] / cpu['bare PyTorch']:.2f} |"
        )
    lines += [
        "",
        "Asked for (issue 5): 2 times stock TRL's defaults, and within 10% of a bare loop on the same batches. "
        f"Our default: **{cpu[DEFAULT] / cpu['stock TRL']:.2f} times** and "
        f"**{cpu[DEFAULT] / cpu['bare PyTorch']:.0%}**.",
        "",
        "Stock TRL's defaults recompute activations (`gradient_checkpointing`) and pad random samples to the longest; "
        "off Triton its fused head scores every position, prompts and padding included. Ours packs, keeps activations "
        "on CPU, and makes logits at labelled positions only; with packing off it groups by length, by TRL's loss.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=Path("out/nano/10-corpus"))
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("docs/results/training"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sft.quiet()
    machine = {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "trl": version("trl"),
        "load": os.getloadavg()[0],
    }
    found = measure(arguments.corpus, arguments.steps, arguments.rounds) | {"machine": machine}
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "sft_speed.json").write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    page = as_markdown(found)
    (arguments.out / "sft_speed.md").write_text(page, "utf-8")
    print(page)


if __name__ == "__main__":
    main()
