"""What one device has to do at a time, from a stage's configuration: the input of the memory estimate."""

from __future__ import annotations

from dataclasses import dataclass

from safekeel.train.launch.memory import Activations, Work
from safekeel.train.launch.shape import Shape
from safekeel.train.launch.sharded import LaunchConfig
from safekeel.train.lora import TARGETS, LoraSettings, middle_third
from safekeel.train.preference_config import PreferenceConfig
from safekeel.train.rl_config import RlConfig
from safekeel.train.sft import SftConfig


@dataclass(frozen=True)
class Lengths:
    """What a stage trains on, in tokens."""

    samples: int
    """Samples, pairs, or prompts."""
    tokens: int
    """All of them once; of a pair both sides with their prompt; of a prompt without its completion."""
    longest: int
    """The longest sample, side of a pair, or prompt."""
    too_long: int = 0
    """Left out, or an error, by the stage's own rule."""
    note: str = ""
    """What was assumed where nothing could be counted."""

    @property
    def mean(self) -> float:
        return self.tokens / max(1, self.samples)


def kept_activations(checkpointing: str, offload: bool, on_accelerator: bool) -> Activations:
    """What happens to activations: `auto` computes them again on accelerators."""
    if offload:
        return "offload"
    return "recompute" if checkpointing == "on" or (checkpointing == "auto" and on_accelerator) else "keep"


def trained_params(lora: LoraSettings | None, shape: Shape) -> int:
    """Parameters that are trained: all, or those of the adapters."""
    if lora is None:
        return shape.params
    adapted = len(middle_third(shape.layers)) if lora.layers == "middle" else shape.layers
    return shape.lora_params(lora.rank, TARGETS[lora.target], adapted)


def sft_work(config: SftConfig, shape: Shape, lengths: Lengths, launch: LaunchConfig, on_accelerator: bool) -> Work:
    """One forward pass of SFT at its largest."""
    bf16 = config.precision == "bf16" or (config.precision == "auto" and on_accelerator)
    is_sharded = launch.world > 1
    share = -(-config.batch_size // launch.world)
    length = min(lengths.longest, config.max_length)
    if config.packing:
        tokens = share * lengths.mean
        if (limit := config.pass_tokens()) is not None:
            tokens = min(tokens, limit)
        rows = max(1, round(tokens / max(1, length)))
    else:
        rows = config.pass_samples(share)
    return Work(
        rows=rows,
        length=length,
        value_bytes=2 if bf16 else 4,
        trained=trained_params(config.lora, shape),
        frozen_bytes=4 if is_sharded or not bf16 else 2,  # FSDP2 wants one format per layer
        shards=launch.world if is_sharded else 1,
        activations=kept_activations(config.activation_checkpointing, config.activation_offload, on_accelerator),
        head="pieces" if is_sharded or (config.packing and not on_accelerator) else "columns",
        packed=config.packing,
        references=int(config.anchor_weight > 0 and config.lora is None),
    )


def preference_work(
    config: PreferenceConfig, shape: Shape, lengths: Lengths, launch: LaunchConfig, on_accelerator: bool
) -> Work:
    """One forward pass of DPO: both sides of a pair. The reference's log-probabilities are computed before training."""
    bf16 = config.precision == "bf16" or (config.precision == "auto" and on_accelerator)
    return Work(
        rows=2 * (config.micro_batch_size or -(-config.batch_size // launch.world)),
        length=min(lengths.longest, config.max_length),
        value_bytes=2 if bf16 else 4,
        trained=trained_params(config.lora, shape),
        frozen_bytes=2 if bf16 else 4,
        activations=kept_activations(config.activation_checkpointing, False, on_accelerator),
    )


def rl_work(config: RlConfig, shape: Shape, lengths: Lengths) -> Work:
    """One forward pass of GRPO, or sampling a step's completions, whichever is larger."""
    completions = config.prompts_per_step * config.num_generations
    size = 2 if config.dtype == "bfloat16" else 4
    return Work(
        rows=completions // config.micro_batches,
        length=lengths.longest + config.max_tokens,
        value_bytes=size,
        trained=shape.params,
        stored_bytes=4,  # fp32 weights under autocast
        activations="recompute" if config.gradient_checkpointing else "keep",
        references=1 + (config.kl_beta > 0),  # the base, and the start
        generated_rows=completions if config.vllm == "off" else 0,
    )
