"""LoRA: what gets an adapter, and that a checkpoint is the ordinary model which the adapter makes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

pytest.importorskip("peft", reason="needs the train extra")

import torch
from peft import get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from safekeel.errors import EngineError
from safekeel.nano.model import shipped_checkpoint
from safekeel.train.lora import (
    ADAPTER,
    LoraSettings,
    load_adapter,
    merged_state,
    middle_third,
    peft_config,
    save_merged,
)


def adapted(settings: LoraSettings, dtype: str = "float32", seed: int = 0):
    """The nano model with an adapter that does something."""
    plain = AutoModelForCausalLM.from_pretrained(shipped_checkpoint(), dtype=dtype)
    model = get_peft_model(plain, peft_config(settings, plain))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.copy_(0.02 * torch.randn(weight.shape, generator=generator))
    return model.eval()


@given(st.integers(1, 100))
def test_middle_third(num_layers: int) -> None:
    middle = middle_third(num_layers)
    assert middle and middle == list(range(middle[0], middle[-1] + 1)) and middle[-1] < num_layers
    assert abs(middle[0] - (num_layers - 1 - middle[-1])) <= 2
    assert middle_third(48) == list(range(16, 32))  # as in the code of arXiv 2507.17075


@pytest.mark.parametrize(
    ("settings", "names", "layers"),
    [
        (LoraSettings(), {"up_proj"}, {0, 1, 2, 3}),
        (LoraSettings(target="mlp", layers="middle"), {"gate_proj", "up_proj", "down_proj"}, {1}),
        (
            LoraSettings(target="all", rank=32),
            {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"},
            {0, 1, 2, 3},
        ),
    ],
)
def test_only_what_is_asked_for_gets_an_adapter(settings: LoraSettings, names: set[str], layers: set[int]) -> None:
    found = [name.split(".") for name, weight in adapted(settings).named_parameters() if weight.requires_grad]
    assert all("lora_" in ".".join(parts) for parts in found)
    assert {parts[-4] for parts in found} == names
    assert {int(parts[parts.index("layers") + 1]) for parts in found} == layers
    assert {weight.shape[0] for n, weight in adapted(settings).named_parameters() if "lora_A" in n} == {settings.rank}


def test_a_merged_checkpoint_is_the_adapted_model_and_training_goes_on_untouched(tmp_path: Path) -> None:
    model = adapted(LoraSettings(rank=4, target="all"))
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    save_merged(model, tmp_path)
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    plain = AutoModelForCausalLM.from_pretrained(tmp_path, dtype="float32").eval()
    base = load_file(shipped_checkpoint() / "model.safetensors")
    assert set(load_file(tmp_path / "model.safetensors")) == set(base)
    ids = torch.arange(5, 45)[None]
    with torch.no_grad():
        expected = model(input_ids=ids).logits
        assert torch.allclose(plain(input_ids=ids).logits, expected, atol=1e-4)
        untouched = AutoModelForCausalLM.from_pretrained(shipped_checkpoint(), dtype="float32")(input_ids=ids).logits
        assert (untouched - expected).abs().max() > 0.05
    merged, whole = merged_state(model), model.merge_and_unload().state_dict()
    assert all(torch.allclose(merged[name], whole[name], atol=1e-6) for name in whole)


def test_a_half_precision_base_is_rounded_once() -> None:
    model = adapted(LoraSettings(rank=2), dtype="bfloat16")
    name = "model.layers.0.mlp.up_proj"
    module = model.get_base_model().get_submodule(name)
    exact = module.base_layer.weight.float() + 8 * (
        module.lora_B["default"].weight.float() @ module.lora_A["default"].weight.float()
    )
    merged = merged_state(model)[f"{name}.weight"]
    assert merged.dtype == torch.bfloat16
    # get_delta_weight itself rounds the product to the adapter's type, float32 here
    assert torch.equal(merged, exact.to(torch.bfloat16))


def test_the_bare_adapter_comes_back_exactly(tmp_path: Path) -> None:
    settings = LoraSettings(rank=2, target="all")
    model, other = adapted(settings), adapted(settings, seed=1)
    save_merged(model, tmp_path)
    assert (tmp_path / ADAPTER / "adapter_config.json").is_file()
    load_adapter(other, tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_an_unknown_architecture_and_a_rank_out_of_range_are_refused() -> None:
    other = GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=16))
    with pytest.raises(EngineError, match="GPT2LMHeadModel has no modules named up_proj"):
        peft_config(LoraSettings(), other)
    for rank in (0, 33):
        with pytest.raises(ValidationError):
            LoraSettings(rank=rank)
