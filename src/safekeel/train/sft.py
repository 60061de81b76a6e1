"""Stage 20-sft: supervised fine-tuning on the safety corpus with TRL's SFTTrainer -> several checkpoints (Safe-Base).

The loss is on exactly what generation would produce (`text.py`): prompt ids come from the chat template's generation
prompt, labels are thought + `</think>` + answer + EOS. The trainer gets ids and labels and never renders a template:
the R1 template deletes reasoning from assistant turns (train-peers.md, fact 2).

    safekeel train sft MODEL --corpus 10-corpus --out DIR

Options, each in its own file: `lora.py`, `packing.py`, `anchor.py` (KL to the base), `key_sentence.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from safekeel.artifact import Stage
from safekeel.chat import load_tokenizer
from safekeel.config import StageConfig
from safekeel.corpus.sample import Sample
from safekeel.progress import Progress
from safekeel.records import read_jsonl
from safekeel.train.lora import LoraSettings
from safekeel.train.regimes import RegimeName, Scheduler, unusual_rate, with_regime

if TYPE_CHECKING:
    from safekeel.train.sft_data import Prepared

STAGE, VERSION = "sft", "3"


class SftConfig(StageConfig):
    """Hyper-parameters. What a recipe leaves out comes from `regimes.py`, for the nano model or a real one, trained in
    full or (with a section `lora`) by LoRA; the values below are the nano model's in full."""

    regime: RegimeName = "nano"
    lora: LoraSettings | None = None
    """None = all weights are trained."""
    learning_rate: float = Field(3e-4, gt=0)
    num_epochs: float = Field(2.0, gt=0)
    batch_size: int = Field(32, ge=1)
    """Samples per optimizer step, over all processes."""
    scheduler: Scheduler = "linear"
    """After min(10, 10%) steps of warm-up."""
    weight_decay: float = Field(0.0, ge=0)
    num_checkpoints: int = Field(4, ge=1)
    """Checkpoints kept for selection, evenly over training."""
    max_length: int = Field(512, ge=16)
    """Tokens of a sample; a longer one is never cut."""
    too_long: Literal["error", "drop"] = "error"
    """Both list the samples in `too_long.jsonl`; `drop` trains without them."""
    packing: bool = True
    """Several samples per row, apart from each other: the loss of one sample per row, 1.5 times as fast on nano
    (`packing.py`). A model that cannot keep them apart is refused before training; set false for it."""
    micro_tokens: int | None = Field(None, ge=16)
    """Most tokens of one forward pass; a step of more is accumulated over several. None = one pass a step."""
    micro_batch_size: int | None = Field(None, ge=1)
    """The same limit in samples of `max_length`, on one process; meant for `packing = false`."""
    anchor_weight: float = Field(0.0, ge=0)
    """β of the KL to the base on samples of role replay and general; 0 = off (`anchor.py`)."""
    key_sentence_weight: float = Field(1.0, ge=1)
    """Weight of the sentence that states the risk; 1 = off (`key_sentence.py`)."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of forward and backward pass. auto: bf16 where the accelerator has it, fp32 on CPU (bf16 is slower there)."""
    activation_checkpointing: Literal["auto", "on", "off"] = "auto"
    """Recompute activations in the backward pass. auto: on accelerators, where long thoughts would not fit."""
    activation_offload: bool = False
    """Keep checkpointed activations in host memory."""
    attention: str | None = None
    """`attn_implementation` of transformers; None = flash_attention_2 if installed and on an accelerator, else what
    transformers takes (sdpa where the architecture has it)."""
    seed: int = 0

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, values: Any) -> Any:
        return with_regime(values) if isinstance(values, dict) else values

    def pass_tokens(self) -> int | None:
        """Packing: most tokens of one forward pass. Of `micro_batch_size` each sample counts as `max_length`."""
        if self.micro_tokens is None and self.micro_batch_size is not None:
            return self.micro_batch_size * self.max_length
        return self.micro_tokens

    def pass_samples(self, share: int) -> int:
        """Without packing: samples of one forward pass of a process that has `share` samples of each step.

        A limit in tokens alone (`micro_tokens`) gives the most samples of `max_length` below it that divide the share.
        """
        if self.micro_batch_size is not None or self.micro_tokens is None:
            return self.micro_batch_size or share
        most = max(1, self.micro_tokens // self.max_length)
        return max((size for size in range(1, min(most, share) + 1) if share % size == 0), default=share)


def run(config: SftConfig, stage: Stage, model_dir: Path, corpus: Path, progress: Progress) -> list[str]:
    """Fill the stage folder with `checkpoints/checkpoint-N`, `metrics.jsonl` and `too_long.jsonl`; continues from its
    last checkpoint.

    Returns:
        What the user should know (samples left out, thinking switched on), also in the manifest's warnings.

    Raises:
        DataError: a tokenizer or corpus that cannot be trained on, or too little disk.
        ConfigError: a batch that cannot be shared out as asked.
        EngineError: a loss or weight that is not finite, or a model that cannot do what is asked.
    """
    from safekeel.train.checkpoints import (
        StageCallback,
        complete_checkpoints,
        discard_incomplete,
        drop_training_state,
        kept_rows,
        rising_loss,
        step_of,
    )
    from safekeel.train.narrow import narrow, stored_dtype
    from safekeel.train.sft_data import TOO_LONG, prepare, set_apart
    from safekeel.train.text import check_trainable

    stage.begin()
    folder, metrics = stage.dir / "checkpoints", stage.dir / "metrics.jsonl"
    discard_incomplete(folder)
    resume = complete_checkpoints(folder)
    resumed_step = step_of(resume[-1]) if resume else 0
    quiet()
    tokenizer = load_tokenizer(model_dir)
    notes = check_trainable(tokenizer) + unusual_rate(config)
    samples = read_jsonl(corpus / "sft.jsonl", Sample)
    prepared = prepare(tokenizer, samples, config.max_length, config.key_sentence_weight, config.anchor_weight > 0)
    notes += set_apart(prepared, stage.dir, drop=config.too_long == "drop") + _without_effect(config, prepared)
    total_steps = num_steps(config, len(prepared.documents))
    if resumed_step < total_steps:  # else a kill came after the last step
        trainer = open_trainer(config, model_dir, tokenizer, prepared.documents, total_steps, folder)
        trainer.require_room_for_run(config.num_checkpoints - len(resume))
        trainer.add_callback(StageCallback(metrics, "sft", progress, resumed_step))
        trainer.count_on(kept_rows(metrics, resumed_step))
        trainer.train(resume_from_checkpoint=str(resume[-1]) if resume else None)
    notes += rising_loss(kept_rows(metrics, total_steps), "sft")
    for path in complete_checkpoints(folder):
        drop_training_state(path)
        narrow(path, stored_dtype(model_dir))
    outputs = [*complete_checkpoints(folder), metrics, stage.dir / TOO_LONG]
    stage.finish(outputs, prepared.counts(total_steps), notes)
    return notes


def _without_effect(config: SftConfig, prepared: Prepared) -> list[str]:
    """Options for which the corpus has nothing."""
    found = []
    if config.anchor_weight > 0 and not any(document.anchored for document in prepared.documents):
        found.append("anchor_weight has no effect: the corpus has no sample of role replay or general")
    if config.key_sentence_weight != 1 and not prepared.num_key_sentences:
        found.append("key_sentence_weight has no effect: no risky sample has a sentence that states the risk")
    return found


def num_steps(config: SftConfig, num_samples: int) -> int:
    """Optimizer steps of the whole training; the last batch of an epoch may be smaller."""
    return max(1, int(-(-num_samples // config.batch_size) * config.num_epochs))


def open_trainer(
    config: SftConfig, model_dir: Path, tokenizer: Any, documents: list[Any], total_steps: int, folder: Path
) -> Any:
    """The trainer, ready to train.

    Args:
        documents: of `sft_data.prepare`.

    Raises:
        ConfigError: the batch cannot be shared out as asked.
        EngineError: the model cannot be loaded, lacks what LoRA adapts, or cannot keep packed documents apart.
    """
    import torch

    from safekeel.train.anchor import open_anchor
    from safekeel.train.loading import load_model
    from safekeel.train.lora import peft_config
    from safekeel.train.packing import check_isolation
    from safekeel.train.sft_arguments import arguments, default_attention, uses_bf16
    from safekeel.train.sft_batches import batches
    from safekeel.train.sft_trainer import SafeSftTrainer

    bf16, attention = uses_bf16(config), config.attention or default_attention()
    dtype = "bfloat16" if bf16 and config.lora is not None else "float32"  # a full run keeps its master weights
    model = load_model(model_dir, dtype, attention)
    adapters = peft_config(config.lora, model) if config.lora is not None else None
    given = batches(config, documents, tokenizer, model, total_steps, one_row=attention not in (None, "sdpa", "eager"))
    trainer = SafeSftTrainer(
        model=model,
        args=arguments(config, total_steps, folder, bf16, **given.arguments),
        data_collator=given.collator,
        train_dataset=given.dataset,
        processing_class=tokenizer,
        peft_config=adapters,
        steps_per_epoch=-(-len(documents) // config.batch_size) if config.packing else None,
    )
    drop_printer(trainer)
    if config.packing and not trainer.is_deepspeed_enabled:  # ZeRO-3 has no weights outside a training step
        with trainer.accelerator.autocast():
            check_isolation(trainer.model)
    if config.anchor_weight > 0:
        trainer.anchor_weight, frozen = config.anchor_weight, torch.bfloat16 if bf16 else torch.float32
        trainer.anchor = open_anchor(model_dir, model, config.lora is not None, trainer.args.device, frozen)
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
