"""The RL stage of the loop: the base is given to it, is among its inputs, and changes neither draws nor weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from safekeel.artifact import read_manifest
from safekeel.config import load_recipe
from safekeel.nano.model import shipped_checkpoint
from safekeel.pipeline import Pipeline, Recipe
from safekeel.records import write_jsonl
from tests.grpo_run import SMALL, pool, quiet_progress, run_stage

TIMED = ("time/generate", "time/rewards", "step_time")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Bit-identical sums need the same number of threads, and two cores are shared."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that is not the base: its weights are a hundredth away from it."""
    from safetensors.torch import load_file, save_file

    folder = tmp_path_factory.mktemp("selected") / "model"
    shutil.copytree(shipped_checkpoint(), folder)
    weights = load_file(folder / "model.safetensors")
    save_file({name: 1.01 * tensor for name, tensor in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture
def rl_of(start: Path) -> Callable[..., dict[str, Any]]:
    """Runs `40-rl` of a made-up run folder; returns the manifest."""

    def run(out: Path, **settings: Any) -> dict[str, Any]:
        shutil.copytree(shipped_checkpoint(), out / "00-base/model")
        shutil.copytree(start, out / "30-select/model")
        (out / "10-corpus").mkdir()
        write_jsonl(out / "10-corpus/rl.jsonl", pool())
        wanted = {name: value for name, value in (SMALL | {"num_steps": 2} | settings).items() if value is not None}
        loop = Pipeline(Recipe.resolve({**load_recipe("nano", []), "rl": wanted}), out, "test", lambda line: None)
        loop.progress = quiet_progress  # type: ignore[assignment]
        loop._rl("30-select/model", "10-corpus")
        return read_manifest(out / "40-rl")

    return run


def logged(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "40-rl/metrics.jsonl").read_text("utf-8").splitlines()]


def weights_of(out: Path) -> bytes:
    return (out / "40-rl/model/model.safetensors").read_bytes()


def test_measuring_the_drift_from_the_base_changes_no_draw_and_no_weight(
    tmp_path: Path, start: Path, rl_of: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.grpo_run.shipped_checkpoint", lambda: start)
    run_stage(tmp_path / "without", base_dir=None, num_steps=2, max_truncated=0.5, max_tokens=32)
    manifest = rl_of(tmp_path / "with", base_kl_every=1, max_tokens=32)
    assert weights_of(tmp_path / "with") == weights_of(tmp_path / "without")
    assert weights_of(tmp_path / "with") != (tmp_path / "with/30-select/model/model.safetensors").read_bytes()
    measured, bare = logged(tmp_path / "with"), logged(tmp_path / "without")
    assert all(row["base_kl"] > row["kl"] >= 0 for row in measured)  # the start is not the base
    assert not [key for row in bare for key in row if key.startswith("base_kl")]
    for row in (*measured, *bare):
        for key in [key for key in row if key in TIMED or key.startswith("base_kl")]:
            del row[key]
    assert measured == bare
    assert "00-base/model" in [row["path"] for row in manifest["inputs"]]


def test_the_recipe_sets_how_often_the_base_is_sampled(tmp_path: Path, rl_of: Callable[..., dict[str, Any]]) -> None:
    manifest = rl_of(tmp_path / "run", base_samples=3, num_steps=1, num_checkpoints=1, max_tokens=32)
    rows = (tmp_path / "run/40-rl/base_completions.jsonl").read_text("utf-8").splitlines()
    assert len(rows) == 5 * 3  # harmless prompts and problems; the risky one has no base rate
    assert manifest["counts"]["steps"] == 1 and not manifest["warnings"]


def test_the_nano_recipe_samples_no_base_and_measures_the_drift() -> None:
    config = Recipe.resolve(load_recipe("nano", [])).rl
    assert config.base_samples == 0 and config.base_kl_every == 10 and config.max_base_kl is None
