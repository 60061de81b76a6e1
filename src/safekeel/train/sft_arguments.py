"""TRL's configuration of a supervised run, and what of it the machine decides: precision, attention, recomputation."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from trl import SFTConfig as TrlSftConfig

from safekeel.train.launch.device import find_device

if TYPE_CHECKING:
    from safekeel.train.sft import SftConfig


def arguments(config: SftConfig, total_steps: int, folder: Path, bf16: bool, **more: Any) -> Any:
    """TRL's configuration; `more` has the batch sizes."""
    on_cpu = not torch.accelerator.is_available()
    checkpointing = config.activation_checkpointing
    return TrlSftConfig(
        output_dir=str(folder),
        max_steps=total_steps,
        learning_rate=config.learning_rate,
        lr_scheduler_type=config.scheduler,
        warmup_steps=min(10, total_steps // 10),
        weight_decay=config.weight_decay,
        optim="adamw_torch_fused",
        max_length=config.max_length,
        packing=False,
        bf16=bf16,
        gradient_checkpointing=not on_cpu if checkpointing == "auto" else checkpointing == "on",
        activation_offloading=config.activation_offload,
        save_strategy="steps",
        save_steps=-(-total_steps // config.num_checkpoints),
        logging_steps=1,  # the Trainer's means over several steps do not outlive a kill
        seed=config.seed,
        report_to="none",
        disable_tqdm=True,
        use_cpu=on_cpu,
        **more,
    )


def uses_bf16(config: SftConfig) -> bool:
    """Whether forward and backward pass run in bfloat16."""
    return config.precision == "bf16" or (config.precision == "auto" and find_device().dtype == torch.bfloat16)


def default_attention() -> str | None:
    """FlashAttention where there is an accelerator and the package; None = what transformers takes."""
    has_flash = importlib.util.find_spec("flash_attn") is not None
    return "flash_attention_2" if has_flash and torch.accelerator.is_available() else None
