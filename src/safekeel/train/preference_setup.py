"""The preference trainer of a configuration, its reference's log-probabilities, and the gauge of what was forgotten."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from transformers import TrainerCallback
from trl import DPOConfig

from safekeel.errors import ConfigError, EngineError
from safekeel.train.loading import load_model
from safekeel.train.preference_trainer import REFERENCE_COLUMNS, MarginCollator, SafeDpoTrainer
from safekeel.train.sft_arguments import default_attention
from safekeel.train.sft_batches import world_size
from safekeel.train.text import Encoded

if TYPE_CHECKING:
    from safekeel.train.preference_config import PreferenceConfig

REPLAY = "replay"
NUM_READINGS = 10
"""Of the gauge in one run: it costs one forward pass over its texts each time."""


class ForgettingGauge(TrainerCallback):
    """Logs `kl/replay`: how much rarer, in nats per token, the model's start wrote these texts than the model does now.

    The texts are the target's own answers to capability prompts, drawn from the base, so the mean of
    log π_start − log π is an estimate of the rise of KL(base ‖ model) there since the start; forgetting follows that
    divergence (RL's Razor, arXiv 2509.04259).
    """

    def __init__(self, trainer: SafeDpoTrainer, texts: Sequence[Encoded], reference: Sequence[float] | None) -> None:
        """
        Args:
            reference: log π_start of each text; None = the model as it is now is the start.
        """
        self.trainer, self.texts = trainer, list(texts)
        self.reference = list(reference) if reference is not None else self._log_probs()

    def _log_probs(self) -> list[float]:
        found: list[float] = []
        size = 2 * self.trainer.args.per_device_train_batch_size
        for start in range(0, len(self.texts), size):
            rows = [
                {"prompt_ids": text.prompt_ids, "chosen_ids": text.completion_ids, "rejected_ids": text.completion_ids}
                for text in self.texts[start : start + size]
            ]
            whole = self.trainer.data_collator(rows)
            half = {name: tensor[: len(rows)].to(self.trainer.args.device) for name, tensor in whole.items()}
            with torch.no_grad(), self.trainer.accelerator.autocast():
                found += self.trainer.completion_log_probs(self.trainer.model, half)[0].tolist()
        return found

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        interval = max(1, state.max_steps // NUM_READINGS)
        if state.global_step % interval == 0 or state.global_step == state.max_steps:
            num_tokens = sum(len(text.completion_ids) for text in self.texts)
            reading = (sum(self.reference) - sum(self._log_probs())) / num_tokens
            self.trainer._metrics["train"]["kl/replay"].append(reading)


def open_trainer(
    config: PreferenceConfig,
    model_dir: Path,
    tokenizer: Any,
    rows: list[dict[str, Any]],
    steps: int,
    folder: Path,
    replay: Sequence[Encoded] = (),
    earlier: Any = None,
) -> tuple[SafeDpoTrainer, dict[str, list[float]]]:
    """The trainer, and log-probabilities of the model it starts from: of its rows by column, of the gauge's texts.

    Args:
        replay: texts of the gauge; none = no gauge.
        earlier: what an interrupted attempt computed, by the same names; they would be the same again, but on a large
            model they are a forward pass over all pairs.

    Raises:
        ConfigError: the batch cannot be shared out as asked.
        EngineError: the model cannot be loaded, lacks what LoRA adapts, or gives no finite log-probability.
    """
    from safekeel.train.lora import peft_config

    bf16, attention = uses_bf16(config), config.attention or default_attention()
    dtype = "bfloat16" if bf16 and config.lora is not None else "float32"  # a full run keeps its master weights
    arguments = _arguments(config, steps, folder, bf16)
    model = load_model(model_dir, dtype, attention)
    with _without_bars():
        trainer = SafeDpoTrainer(
            model=model,
            args=arguments,
            data_collator=MarginCollator(pad_token_id=_pad_id(tokenizer)),
            train_dataset=Dataset.from_list(with_reference(rows, earlier)),
            processing_class=tokenizer,
            peft_config=peft_config(config.lora, model) if config.lora is not None else None,
        )
    trainer.sft_weight = config.sft_weight
    dataset: Any = trainer.train_dataset
    reference = {name: list(dataset[name]) for name in REFERENCE_COLUMNS}
    if replay:
        known = earlier.get(REPLAY) if isinstance(earlier, dict) else None
        gauge = ForgettingGauge(trainer, replay, known if known and len(known) == len(replay) else None)
        trainer.add_callback(gauge)
        reference[REPLAY] = gauge.reference
    _require_finite(reference, model_dir)
    return trainer, reference


def with_reference(rows: list[dict[str, Any]], earlier: Any) -> list[dict[str, Any]]:
    """The rows with the reference's log-probabilities of an earlier attempt; as they are where it has none for them."""
    if not isinstance(earlier, dict) or any(len(earlier.get(name, ())) != len(rows) for name in REFERENCE_COLUMNS):
        return rows
    return [row | {name: earlier[name][place] for name in REFERENCE_COLUMNS} for place, row in enumerate(rows)]


def uses_bf16(config: PreferenceConfig) -> bool:
    """Whether forward and backward pass run in bfloat16."""
    from safekeel.train.launch.device import find_device

    return config.precision == "bf16" or (config.precision == "auto" and find_device().dtype == torch.bfloat16)


def share_of(config: PreferenceConfig) -> tuple[int, int]:
    """(pairs of one forward pass, passes per step) of one process.

    Raises:
        ConfigError: the batch does not divide.
    """
    share, rest = divmod(config.batch_size, world_size())
    micro = min(config.micro_batch_size or share, share)
    if rest or not share or share % micro:
        raise ConfigError(
            f"preference.batch_size {config.batch_size} cannot be shared by {world_size()} process(es) in passes of "
            f"{micro or 1} pair(s); make it a multiple of {world_size() * (config.micro_batch_size or 1)}."
        )
    return micro, share // micro


def _arguments(config: PreferenceConfig, steps: int, folder: Path, bf16: bool) -> DPOConfig:
    micro, passes = share_of(config)
    on_cpu = not torch.accelerator.is_available()
    checkpointing = config.activation_checkpointing
    return DPOConfig(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=passes,
        learning_rate=config.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=min(10, steps // 10),
        weight_decay=0.0,
        optim="adamw_torch_fused",
        beta=config.beta,
        precompute_ref_log_probs=True,
        max_length=None,
        bf16=bf16,
        gradient_checkpointing=not on_cpu if checkpointing == "auto" else checkpointing == "on",
        save_strategy="steps",
        save_steps=-(-steps // config.num_checkpoints),
        logging_steps=1,
        seed=config.seed,
        report_to="none",
        disable_tqdm=True,
        use_cpu=on_cpu,
    )


def _require_finite(reference: dict[str, list[float]], model_dir: Path) -> None:
    values = [value for column in reference.values() for value in column]
    if broken := sum(not math.isfinite(value) for value in values):
        raise EngineError(
            f"{model_dir} gives no finite log-probability to {broken} of {len(values)} texts, so it cannot be trained "
            'from; its weights are damaged or overflow. Take another checkpoint, or preference.precision = "fp32".'
        )


def _pad_id(tokenizer: Any) -> int:
    """The padding token; it is never learnt and never attended to, so EOS will do where there is none."""
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    found: int = tokenizer.pad_token_id
    return found


@contextmanager
def _without_bars() -> Iterator[None]:
    """TRL shows a bar of its own over the reference pass and has no argument against it."""
    before = os.environ.get("TQDM_DISABLE")
    os.environ["TQDM_DISABLE"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["TQDM_DISABLE"]
        else:
            os.environ["TQDM_DISABLE"] = before
