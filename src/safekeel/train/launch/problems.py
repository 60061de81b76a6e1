"""What stands against a plan: layouts, lengths and memory that a stage would fail on, said before hours are spent."""

from __future__ import annotations

from safekeel.train.launch import layout
from safekeel.train.launch.memory import OVERHEAD, Memory, Work
from safekeel.train.launch.shape import Shape
from safekeel.train.launch.sharded import LaunchConfig
from safekeel.train.launch.work import Lengths
from safekeel.train.preference_config import PreferenceConfig
from safekeel.train.rl_config import RlConfig
from safekeel.train.sft import SftConfig

GIB = 2**30


def problems(
    config: SftConfig | PreferenceConfig | RlConfig,
    shape: Shape,
    lengths: Lengths,
    launch: LaunchConfig,
    memory: Memory,
    device_bytes: int | None,
    work: Work,
) -> list[str]:
    """Every reason why a stage would fail, one line each.

    Args:
        device_bytes: memory of one device; None = unknown, and then not compared.
    """
    found: list[str] = []
    if not lengths.samples:
        found.append("nothing is left to train on.")
    if shape.positions and work.length > shape.positions:
        found.append(f"rows of {work.length} tokens: the model's positions end at {shape.positions}.")
    if isinstance(config, SftConfig):
        found += _sft_problems(config, lengths, launch)
    elif isinstance(config, PreferenceConfig):
        found += _batch_problems(config, launch)
    if device_bytes is not None and memory.total > device_bytes * (1 - OVERHEAD):
        needed, usable = _size(memory.total), _size(device_bytes * (1 - OVERHEAD))
        found.append(f"one device needs about {needed} and has {usable} to use; {_advice(memory)}.")
    return found


def _sft_problems(config: SftConfig, lengths: Lengths, launch: LaunchConfig) -> list[str]:
    found = []
    if lengths.too_long and config.too_long == "error":
        found.append(
            f"{lengths.too_long} samples are longer than sft.max_length = {config.max_length}; raise it, or leave them "
            "out with sft.too_long=drop."
        )
    if launch.world > 1 and not config.packing:
        found.append("a run on several devices shares out planned batches; set sft.packing=true.")
    if config.packing:
        if (limit := config.pass_tokens()) is not None and lengths.longest > limit:
            found.append(f"sft.micro_tokens is {limit}, but one sample has {lengths.longest} tokens; raise it.")
        return found
    return found + _batch_problems(config, launch)


def _batch_problems(config: SftConfig | PreferenceConfig, launch: LaunchConfig) -> list[str]:
    share = max(1, config.batch_size // launch.world)
    micro = config.pass_samples(share) if isinstance(config, SftConfig) else config.micro_batch_size or share
    return layout.problems(layout.Layout(launch.world, micro_batch=micro, global_batch=config.batch_size))


def _size(num_bytes: float) -> str:
    return f"{num_bytes / GIB:.1f} GiB" if num_bytes >= GIB else f"{num_bytes / 2**20:.0f} MiB"


def _advice(memory: Memory) -> str:
    """What to change, by the largest part."""
    parts = memory.parts()
    largest = max(parts, key=lambda name: parts[name])
    if largest in ("weights", "gradients", "optimizer", "working", "references"):
        return "more devices (launch.processes) share it, and LoRA (section sft.lora) trains with a fraction of it"
    if largest == "cache":
        return "sample fewer or shorter completions (rl.prompts_per_step, rl.max_tokens)"
    return "take fewer tokens per pass (micro_tokens, micro_batch_size, micro_batches), or keep activations on the host"
