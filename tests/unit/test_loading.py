"""Models that training starts from: whole ones only, and why another cannot be loaded."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the train extra")

import torch
from safetensors.torch import load_file, save_file

from safekeel.errors import EngineError
from safekeel.nano.model import shipped_checkpoint
from safekeel.train.loading import load_model
from safekeel.train.packing import check_isolation

WEIGHTS = "model.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the nano model, to be damaged."""
    return Path(shutil.copytree(shipped_checkpoint(), tmp_path / "model"))


def test_it_comes_in_the_format_asked_for(folder: Path) -> None:
    assert load_model(folder, "float32").dtype == torch.float32
    assert load_model(folder, torch.bfloat16, "eager").config._attn_implementation == "eager"


def test_weights_that_are_missing_are_not_made_up(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / WEIGHTS, {"format": "pt"})
    with pytest.raises(EngineError, match=r"lacks 1 weights.*model\.layers\.1\.mlp\.up_proj\.weight"):
        load_model(folder, "float32")


def test_damage_is_told_in_a_sentence(folder: Path) -> None:
    with pytest.raises(EngineError, match=r"with the attention 'flesh', which may be left out \(ValueError"):
        load_model(folder, "float32", "flesh")
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: len(content) // 2])
    with pytest.raises(EngineError, match=r"cannot be loaded.*SafetensorError.*expected config\.json"):
        load_model(folder, "float32")
    (folder / WEIGHTS).unlink()
    with pytest.raises(EngineError, match=r"no file named model\.safetensors"):
        load_model(folder, "float32")


def test_a_base_whose_logits_are_no_numbers_is_not_called_leaky(folder: Path) -> None:
    model = load_model(folder, "float32")
    with torch.no_grad():
        model.model.norm.weight[0] = float("nan")
    with pytest.raises(EngineError, match="not finite before any training"):
        check_isolation(model)
