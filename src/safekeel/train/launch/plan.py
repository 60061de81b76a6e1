"""`--dry-run`: what a training stage would do and need, told before hours are spent.

    plan = dry_run("sft", config, model_dir, corpus, launch)
    print(as_text(plan)); require_possible(plan)

Tokens and steps are counted as the stage counts them. Memory is `memory.estimate`, whose parts the tests compare with
what PyTorch allocates. Hours follow from a measured rate where the launch section states one, else from the device's
peak, the share of it that training reaches, and 6 operations per weight and token.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from safekeel.errors import UsageError, nearest
from safekeel.train.launch.counting import count_lengths
from safekeel.train.launch.memory import Memory, Work, estimate, host_bytes
from safekeel.train.launch.problems import GIB, problems
from safekeel.train.launch.shape import Shape, read_shape
from safekeel.train.launch.sharded import LaunchConfig
from safekeel.train.launch.work import Lengths, preference_work, rl_work, sft_work
from safekeel.train.preference import num_steps as preference_steps
from safekeel.train.preference_config import PreferenceConfig
from safekeel.train.regimes import unusual_rate
from safekeel.train.rl_config import RlConfig
from safekeel.train.sft import SftConfig
from safekeel.train.sft import num_steps as sft_steps

Kind = Literal["sft", "preference", "rl"]
KINDS: tuple[Kind, ...] = ("sft", "preference", "rl")
TRAINING, FORWARD = 1.0, 1 / 3  # shares of the operations of a training token
FROZEN = 2 / 3  # with adapters: no gradient is made of the model's own weights
StageSettings = SftConfig | PreferenceConfig | RlConfig


@dataclass(frozen=True)
class Plan:
    """What a stage would do. Bytes are those of one device; seconds and cost are None where no rate is known."""

    kind: Kind
    params: int
    trained: int
    lengths: Lengths
    steps: int
    trained_tokens: int
    """Through forward and backward pass, over all steps; padding not counted."""
    generated_tokens: int
    """Sampled at most, over all steps."""
    devices: int
    work: Work
    memory: Memory
    host: int
    """Bytes that offload keeps in host memory per device."""
    device_bytes: int | None
    seconds: float | None
    rate: str
    """Where the seconds come from."""
    cost: float | None
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def device_hours(self) -> float | None:
        return None if self.seconds is None else self.seconds / 3600 * self.devices

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for `--json`."""
        return asdict(self) | {"total_bytes": self.memory.total, "device_hours": self.device_hours}


def dry_run(
    kind: str,
    config: StageSettings,
    model_dir: Path,
    corpus: Path,
    launch: LaunchConfig | None = None,
    data_dir: Path | None = None,
) -> Plan:
    """The plan of one stage. Reads the corpus and the tokenizer, loads no weights.

    Args:
        data_dir: local copies of public data, where preference pairs come from there.

    Raises:
        UsageError: an unknown kind, or an architecture without a size estimate.
        DataError: the corpus or the model folder is not what the stage needs.
    """
    if kind not in KINDS:
        raise UsageError(f"--dry-run of {kind!r}: no such stage.{nearest(kind, KINDS)} Known: {', '.join(KINDS)}.")
    shape = read_shape(model_dir)
    lengths = count_lengths(config, model_dir, corpus, data_dir)
    launch = launch or LaunchConfig()
    return plan_of(config, shape, lengths, launch, _device_memory(launch), _on_accelerator(launch))


def plan_of(
    config: StageSettings,
    shape: Shape,
    lengths: Lengths,
    launch: LaunchConfig,
    device_bytes: int | None,
    on_accelerator: bool,
) -> Plan:
    """The plan from sizes alone: no model, no corpus, no torch."""
    generated = 0
    kind: Kind
    if isinstance(config, SftConfig):
        kind, work = "sft", sft_work(config, shape, lengths, launch, on_accelerator)
        steps = sft_steps(config, lengths.samples)
        trained, passes = round(lengths.tokens * config.num_epochs), TRAINING if config.lora is None else FROZEN
    elif isinstance(config, PreferenceConfig):
        kind, work = "preference", preference_work(config, shape, lengths, launch, on_accelerator)
        steps = preference_steps(config, lengths.samples)
        trained, passes = round(lengths.tokens * config.num_epochs), TRAINING + FORWARD / max(1.0, config.num_epochs)
    else:
        kind, work, steps = "rl", rl_work(config, shape, lengths), config.num_steps
        completions = config.prompts_per_step * config.num_generations * steps * launch.world
        rollouts = completions // config.num_iterations
        generated = rollouts * config.max_tokens
        trained = round(completions * (lengths.mean + config.max_tokens))
        passes = TRAINING + FORWARD * (1 + (config.kl_beta > 0)) / config.num_iterations
    memory = estimate(shape, work)
    seconds, rate = _seconds(shape, lengths, launch, trained * passes, generated, on_accelerator)
    return Plan(
        kind=kind,
        params=shape.params,
        trained=work.trained,
        lengths=lengths,
        steps=steps,
        trained_tokens=trained,
        generated_tokens=generated,
        devices=launch.world,
        work=work,
        memory=memory,
        host=host_bytes(shape, work),
        device_bytes=device_bytes,
        seconds=seconds,
        rate=rate,
        cost=None
        if seconds is None or launch.price_per_hour is None
        else seconds / 3600 * launch.world * launch.price_per_hour,
        problems=tuple(problems(config, shape, lengths, launch, memory, device_bytes, work)),
        notes=tuple(_notes(config, lengths, launch)),
    )


def require_possible(plan: Plan) -> None:
    """Raises UsageError naming every reason why the stage would fail."""
    if plan.problems:
        raise UsageError("This plan cannot be carried out:\n" + "\n".join(plan.problems))


def _seconds(
    shape: Shape, lengths: Lengths, launch: LaunchConfig, tokens: float, generated: int, on_accelerator: bool
) -> tuple[float | None, str]:
    """Wall-clock of training `tokens` and sampling `generated` tokens, and the rate behind it in words."""
    if launch.tokens_per_second is not None:
        speed, told = launch.tokens_per_second, f"{launch.tokens_per_second:,.0f} tokens/s per device, as stated"
    elif launch.device_tflops is not None:
        speed = launch.device_tflops * 1e12 * launch.utilisation / shape.training_flops(round(lengths.mean))
        peak = f"{launch.device_tflops:,.0f} TFLOP/s"
        told = f"{speed:,.0f} tokens/s per device: {launch.utilisation:.0%} of {peak}, assumed"
    else:
        return None, "unknown: set launch.tokens_per_second, or launch.device_tflops"
    seconds = tokens / speed / launch.world
    if generated:
        # Without a measured rate: decoding reads all weights per token; servers reach about the training rate.
        sampling = launch.generated_per_second or speed
        seconds += generated / sampling / launch.world
        told += f"; sampling {sampling:,.0f} tokens/s per device, " + (
            "as stated" if launch.generated_per_second else "assumed as training"
        )
    return seconds, told


def _notes(config: StageSettings, lengths: Lengths, launch: LaunchConfig) -> list[str]:
    notes = [lengths.note] if lengths.note else []
    if isinstance(config, SftConfig):
        notes += unusual_rate(config)
    if lengths.too_long:
        notes.append(f"{lengths.too_long} are longer than max_length and are not in these numbers")
    if launch.world > 1 and not isinstance(config, SftConfig):
        notes.append("only SFT is spread with FSDP2; here every device holds the whole model")
    return notes


def _device_memory(launch: LaunchConfig) -> int | None:
    if launch.device_gib is not None:
        return round(launch.device_gib * GIB)
    from safekeel.train.launch.device import find_device

    device = find_device()
    if device.memory is None or not device.is_cpu:
        return device.memory
    return device.memory // launch.processes  # processes on the CPU share the host's memory


def _on_accelerator(launch: LaunchConfig) -> bool:
    """Whether the plan is for an accelerator: the one that the launch section describes, else what is here."""
    if launch.device_gib is not None:
        return True
    from safekeel.train.launch.device import find_device

    return not find_device().is_cpu
