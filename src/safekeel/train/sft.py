"""Stage 20-sft: supervised fine-tuning on the safety corpus with TRL's SFTTrainer -> several checkpoints (Safe-Base).

The loss is on exactly what generation would produce: prompt ids come from the chat template's generation prompt,
labels are thought + `</think>` + answer + EOS (`chat.completion_ids`). The trainer gets ids and labels and never
renders a template: the R1 template deletes reasoning from assistant turns (train-peers.md, fact 2).

    safekeel train sft MODEL --corpus 10-corpus --out DIR
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from safekeel.artifact import Stage
from safekeel.chat import completion_ids, load_tokenizer, prompt_ids, render_prompt
from safekeel.config import StageConfig
from safekeel.corpus.sample import Sample
from safekeel.errors import DataError
from safekeel.progress import Progress
from safekeel.records import read_jsonl

STAGE, VERSION = "sft", "1"


class SftConfig(StageConfig):
    """Hyper-parameters. The defaults are the nano model's: real models need a learning rate near 1e-5 (STAR-1,
    2505.15404)."""

    learning_rate: float = Field(3e-4, gt=0)
    num_epochs: float = Field(2.0, gt=0)
    batch_size: int = Field(32, ge=1)
    num_checkpoints: int = Field(4, ge=1)
    """Checkpoints kept for selection, evenly over training."""
    max_length: int = Field(512, ge=16)
    """Tokens; longer samples are an error, never cut."""
    seed: int = 0


def run(config: SftConfig, stage: Stage, model_dir: Path, corpus: Path, progress: Progress) -> None:
    """Fill the stage folder with `checkpoints/checkpoint-N` and `metrics.jsonl`; continues from its last checkpoint."""
    from safekeel.train.checkpoints import (
        StageCallback,
        complete_checkpoints,
        discard_incomplete,
        drop_training_state,
        step_of,
    )

    stage.begin()
    folder, metrics = stage.dir / "checkpoints", stage.dir / "metrics.jsonl"
    discard_incomplete(folder)
    resume = complete_checkpoints(folder)
    resumed_step = step_of(resume[-1]) if resume else 0
    quiet()
    tokenizer = load_tokenizer(model_dir)
    dataset = tokenised(tokenizer, read_jsonl(corpus / "sft.jsonl", Sample), config.max_length)
    total_steps = max(1, int(-(-len(dataset) // config.batch_size) * config.num_epochs))
    if resumed_step < total_steps:  # else a kill came after the last step
        trainer = _trainer(config, model_dir, tokenizer, dataset, total_steps, folder)
        trainer.add_callback(StageCallback(metrics, "sft", progress, resumed_step))
        trainer.train(resume_from_checkpoint=str(resume[-1]) if resume else None)
    for path in complete_checkpoints(folder):
        drop_training_state(path)
    stage.finish([*complete_checkpoints(folder), metrics], {"samples": len(dataset), "steps": total_steps})


def _trainer(config: SftConfig, model_dir: Path, tokenizer: Any, dataset: Any, total_steps: int, folder: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM
    from trl import SFTConfig as TrlSftConfig
    from trl import SFTTrainer

    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(model_dir, dtype="float32", use_safetensors=True),
        args=TrlSftConfig(
            output_dir=str(folder),
            max_steps=total_steps,
            per_device_train_batch_size=config.batch_size,
            learning_rate=config.learning_rate,
            lr_scheduler_type="linear",
            warmup_steps=min(10, total_steps // 10),
            weight_decay=0.0,
            optim="adamw_torch_fused",
            train_sampling_strategy="group_by_length",
            max_length=config.max_length,
            packing=False,
            bf16=False,
            gradient_checkpointing=False,
            save_strategy="steps",
            save_steps=-(-total_steps // config.num_checkpoints),
            logging_steps=5,
            seed=config.seed,
            report_to="none",
            disable_tqdm=True,
            use_cpu=not torch.accelerator.is_available(),
        ),
        train_dataset=dataset,
        processing_class=tokenizer,
    )
    drop_printer(trainer)
    return trainer


def quiet() -> None:
    """The stage reports progress itself: no bars and notes of the libraries."""
    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()


def drop_printer(trainer: Any) -> None:
    """Drop the Trainer's callback that prints every log row."""
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)


def tokenised(tokenizer: Any, samples: list[Sample], max_length: int) -> Any:
    """The samples as a `datasets.Dataset` with `input_ids` and `labels` (-100 on the prompt).

    Raises:
        DataError: no samples, or a sample longer than `max_length` tokens (naming it): a cut sample would teach the
        model
            to stop in the middle of a thought.
    """
    from datasets import Dataset

    if not samples:
        raise DataError("The corpus holds no samples to train on; build it with `safekeel corpus build`.")
    rows = []
    for sample in samples:
        prompt = prompt_ids(tokenizer, render_prompt(tokenizer, sample.prompt.messages))
        completion = completion_ids(tokenizer, sample.thought, sample.answer)
        if len(prompt) + len(completion) > max_length:
            raise DataError(
                f"sample {sample.id} has {len(prompt) + len(completion)} tokens, the limit is {max_length}; "
                "raise sft.max_length or drop the sample."
            )
        rows.append({"input_ids": prompt + completion, "labels": [-100] * len(prompt) + completion})
    return Dataset.from_list(rows)
