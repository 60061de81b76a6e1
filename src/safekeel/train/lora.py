"""LoRA: which matrices get an adapter, and checkpoints that are ordinary models with the adapter merged in.

"LoRA is All You Need for Safety Alignment of Reasoning LLMs" (arXiv 2507.17075): safety as with full fine-tuning at
nearly the base's reasoning; rank 1 is enough, the MLP's up-projections alone can do better than the whole MLP, middle
layers do more than early or late ones. The defaults are that paper's best; alpha and dropout are those of its code
(github.com/YihaoXue/lora-safety-reasoning, train.py at bc85c7c).

Merging never touches the weights that are trained: `merge_adapter` followed by `unmerge_adapter` would round them, and
a run that saved would differ from one that did not.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from safekeel.config import StageConfig
from safekeel.errors import EngineError

if TYPE_CHECKING:
    import torch

ADAPTER = "adapter"
"""Folder of the bare adapter inside a checkpoint: what training continues from."""
MLP = ("gate_proj", "up_proj", "down_proj")
TARGETS: dict[str, tuple[str, ...]] = {
    "all": ("q_proj", "k_proj", "v_proj", "o_proj", *MLP),
    "mlp": MLP,
    "up_proj": ("up_proj",),
}


class LoraSettings(StageConfig):
    """`[sft.lora]`; leave the section out for full fine-tuning."""

    rank: int = Field(1, ge=1, le=32)
    """Above what the task needs, a higher rank costs base ability (2507.17075, theorem and table)."""
    alpha: int = Field(16, ge=1)
    """The adapter's output is multiplied by alpha / rank."""
    dropout: float = Field(0.05, ge=0, lt=1)
    target: Literal["all", "mlp", "up_proj"] = "up_proj"
    layers: Literal["all", "middle"] = "all"
    """`middle`: the middle third (layers 16 to 31 of 48 in the paper's code)."""


def middle_third(num_layers: int) -> list[int]:
    """Indices of the middle third of the layers; at least one."""
    first = num_layers // 3
    return list(range(first, max(first + 1, 2 * num_layers // 3)))


def peft_config(settings: LoraSettings, model: Any) -> Any:
    """PEFT's configuration for a model.

    Raises:
        EngineError: the model has no module of a name to be adapted (an architecture with fused or other projections).
    """
    from peft import LoraConfig

    names = TARGETS[settings.target]
    present = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    if missing := [name for name in names if name not in present]:
        raise EngineError(
            f"{type(model).__name__} has no modules named {', '.join(missing)}; LoRA here knows the Qwen and Llama "
            "layout. Train without [sft.lora], or choose another sft.lora.target."
        )
    num_layers = model.config.get_text_config().num_hidden_layers
    return LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        bias="none",
        target_modules=list(names),
        layers_to_transform=middle_third(num_layers) if settings.layers == "middle" else None,
        task_type="CAUSAL_LM",
    )


def merged_state(model: Any) -> dict[str, torch.Tensor]:
    """The weights of a PEFT model with its adapter merged, under the base architecture's own names.

    W + (alpha / rank) · B·A, summed in float32 and rounded once to W's type; matrices without an adapter are the very
    tensors of the model. The trained weights stay as they are.
    """
    import torch
    from peft.tuners.lora import LoraLayer

    base = model.get_base_model()
    changed = {}
    with torch.no_grad():
        for name, module in base.named_modules():
            if isinstance(module, LoraLayer):
                weight = module.get_base_layer().weight
                delta = module.get_delta_weight(model.active_adapter)  # type: ignore[attr-defined]  # of its Linear
                changed[f"{name}.weight"] = (weight.float() + delta.float()).to(weight.dtype)
    state = {}
    for name, tensor in base.state_dict().items():
        if ".lora_" not in name:
            plain = name.replace(".base_layer.", ".")
            state[plain] = changed.get(plain, tensor)
    return state


def save_merged(model: Any, folder: Path) -> None:
    """Write an ordinary checkpoint to `folder` and the bare adapter to `folder/adapter`."""
    model.get_base_model().save_pretrained(folder, state_dict=merged_state(model))
    model.save_pretrained(folder / ADAPTER)


def load_adapter(model: Any, folder: Path) -> None:
    """Put the adapter of a checkpoint back into a PEFT model, exactly."""
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    set_peft_model_state_dict(model, load_file(folder / ADAPTER / "adapter_model.safetensors"))
