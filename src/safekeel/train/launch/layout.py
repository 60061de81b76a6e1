"""Whether a parallel layout is possible, before a cluster is asked for.

The rules are those that the shipped presets of MindSpeed-LLM, verl, slime and MindSpeed-RL keep (the tests hold twelve
of them); two are narrower in folklore than in fact: experts may be spread over more devices than the data-parallel
group has (five presets do), and layers need not divide by the stages where a list or empty layers say how they lie.
"""

from __future__ import annotations

from dataclasses import dataclass

from safekeel.errors import UsageError


@dataclass(frozen=True)
class Layout:
    """Devices and how the work is cut. Sizes of 1 mean "not cut this way"."""

    world: int
    """Devices in all."""
    tensor: int = 1
    pipeline: int = 1
    context: int = 1
    expert: int = 1
    micro_batch: int = 1
    """Rows of one forward pass on one device."""
    global_batch: int | None = None
    """Rows of one optimizer step on all devices."""
    length: int | None = None
    """Tokens of a row."""
    stage_layers: tuple[int, ...] = ()
    """Layers of each pipeline stage, where they are not equal (`--num-layer-list`)."""
    empty_layers: int = 0
    """Layers that do nothing, added so that the stages are equal (`--noop-layers`)."""

    @property
    def data(self) -> int:
        """Size of the data-parallel group (rounded down where the layout is impossible)."""
        return max(1, self.world // (self.tensor * self.pipeline * self.context))


@dataclass(frozen=True)
class ModelSizes:
    """What of a model a layout has to divide; None where it is not known (0 experts: a dense model)."""

    layers: int | None = None
    heads: int | None = None
    kv_heads: int | None = None
    experts: int | None = None


def require_possible(layout: Layout, model: ModelSizes = ModelSizes()) -> None:
    """Raises UsageError naming every broken rule, one per line."""
    if found := problems(layout, model):
        raise UsageError("The parallel layout is impossible:\n" + "\n".join(found))


def problems(layout: Layout, model: ModelSizes = ModelSizes()) -> list[str]:
    """The broken rules in words, each with what to change."""
    sizes = {
        "devices": layout.world,
        "tensor": layout.tensor,
        "pipeline": layout.pipeline,
        "context": layout.context,
        "expert": layout.expert,
        "micro_batch": layout.micro_batch,
    }
    if wrong := [f"{name} is {size}; expected at least 1." for name, size in sizes.items() if size < 1]:
        return wrong
    return [*_devices(layout), *_batch(layout), *_sequence(layout), *_heads(layout, model), *_stages(layout, model)]


def _devices(layout: Layout) -> list[str]:
    found = []
    cut = layout.tensor * layout.pipeline * layout.context
    if layout.world % cut:
        found.append(
            f"{layout.world} devices are no multiple of tensor x pipeline x context = {layout.tensor} x "
            f"{layout.pipeline} x {layout.context} = {cut}; use {_neighbours(layout.world, cut)} devices."
        )
    per_stage = layout.world // layout.pipeline
    if layout.world % layout.pipeline == 0 and per_stage % layout.expert:
        found.append(
            f"expert parallelism {layout.expert} does not divide the {per_stage} devices of a pipeline stage; choose "
            "a divisor."
        )
    return found


def _batch(layout: Layout) -> list[str]:
    unit = layout.micro_batch * layout.data
    if layout.global_batch is None or layout.global_batch % unit == 0:
        return []
    return [
        f"the batch of {layout.global_batch} rows is no multiple of micro batch x data-parallel size = "
        f"{layout.micro_batch} x {layout.data} = {unit}; use {_neighbours(layout.global_batch, unit)} rows."
    ]


def _sequence(layout: Layout) -> list[str]:
    if layout.length is None or layout.context == 1:
        return []
    # Ring attention gives each device one early and one late piece, so that causal work is equal (Megatron-LM).
    unit = 2 * layout.context
    if layout.length % unit == 0:
        return []
    return [
        f"{layout.length} tokens per row are no multiple of 2 x context = {unit}; use "
        f"{_neighbours(layout.length, unit)} tokens."
    ]


def _heads(layout: Layout, model: ModelSizes) -> list[str]:
    found = []
    if model.heads is not None and model.heads % layout.tensor:
        found.append(f"tensor {layout.tensor} does not divide the model's {model.heads} attention heads.")
    elif model.kv_heads is not None and model.kv_heads % layout.tensor and layout.tensor % model.kv_heads:
        found.append(
            f"tensor {layout.tensor} neither divides nor repeats the model's {model.kv_heads} key-value heads evenly."
        )
    if model.experts and model.experts % layout.expert:
        found.append(f"expert parallelism {layout.expert} does not divide the model's {model.experts} experts.")
    if model.experts == 0 and layout.expert > 1:
        found.append(f"expert parallelism {layout.expert} on a model without experts; set it to 1.")
    return found


def _stages(layout: Layout, model: ModelSizes) -> list[str]:
    if layout.stage_layers and layout.empty_layers:
        return ["layers per stage and empty layers exclude each other; give one of them."]
    if layout.stage_layers and len(layout.stage_layers) != layout.pipeline:
        return [f"{len(layout.stage_layers)} layer counts for {layout.pipeline} pipeline stages; give one per stage."]
    if model.layers is None:
        return []
    if layout.stage_layers and sum(layout.stage_layers) != model.layers:
        return [f"the stages hold {sum(layout.stage_layers)} layers, the model has {model.layers}."]
    total = model.layers + layout.empty_layers
    if not layout.stage_layers and total % layout.pipeline:
        return [
            f"{total} layers do not divide by {layout.pipeline} pipeline stages; say how many each holds, or add "
            f"{-total % layout.pipeline} empty layers."
        ]
    return []


def _neighbours(value: int, unit: int) -> str:
    """The multiples of `unit` on both sides of a value."""
    below = value // unit * unit
    return f"{below} or {below + unit}" if below else f"{unit}"
