"""The sharded run's parts in one process: sharding, saved activations, adapters, schedules, and what failures say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

import torch.distributed as dist  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from torch.distributed.fsdp import FSDPModule  # noqa: E402

from safekeel.errors import ConfigError, DataError, EngineError, UsageError  # noqa: E402
from safekeel.nano.model import shipped_checkpoint  # noqa: E402
from safekeel.train.checkpoints import MARKER  # noqa: E402
from safekeel.train.launch import deepspeed, fsdp2, resume, sharded_lora, torchrun  # noqa: E402
from safekeel.train.launch.loss import ModelWithLoss  # noqa: E402
from safekeel.train.launch.offload import save_activations  # noqa: E402
from safekeel.train.launch.sharded import LaunchConfig, require_supported, room_needed  # noqa: E402
from safekeel.train.launch.worker import learning_rate_share  # noqa: E402
from safekeel.train.lora import LoraSettings, merged_state, peft_config  # noqa: E402
from safekeel.train.sft import SftConfig  # noqa: E402
from safekeel.train_command import TrainRequest  # noqa: E402


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[fsdp2.Sharding]:
    """A process group of one: the same calls as with many."""
    store = tmp_path_factory.mktemp("group") / "store"
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)
    yield fsdp2.Sharding(dist.init_device_mesh("cpu", (1,)), torch.device("cpu"), torch.float32)
    dist.destroy_process_group()


def plain() -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(shipped_checkpoint(), dtype=torch.float32)


def test_every_layer_is_sharded_and_holds_the_files_weights(alone: fsdp2.Sharding) -> None:
    module = fsdp2.sharded_model(shipped_checkpoint(), alone)
    layers = module.model.base_model.layers
    assert isinstance(module, FSDPModule) and all(isinstance(layer, FSDPModule) for layer in layers)
    weights, stored = fsdp2.full_weights(module), load_file(shipped_checkpoint() / "model.safetensors")
    assert weights.keys() == stored.keys() and all(torch.equal(weights[name], stored[name]) for name in stored)
    ids = torch.randint(5, 4000, (2, 40), generator=torch.Generator().manual_seed(0))
    positions = torch.arange(40).expand(2, -1)
    with torch.no_grad():
        assert module(ids, ids, positions) == pytest.approx(float(ModelWithLoss(plain())(ids, ids, positions)))


def test_a_model_that_is_not_sharded_is_refused() -> None:
    module = ModelWithLoss(plain())
    with pytest.raises(EngineError, match="did not shard ModelWithLoss"):
        fsdp2.require_sharded(module, module.model.base_model.layers)


@pytest.mark.parametrize(
    ("damage", "said"),
    [("missing", "holds no tensor 'model.norm.weight'"), ("shape", "its config.json says"), ("none", "no \\*.safe")],
)
def test_weights_that_do_not_fit_are_named(alone: fsdp2.Sharding, tmp_path: Path, damage: str, said: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(shipped_checkpoint(), folder)
    weights = load_file(folder / "model.safetensors")
    if damage == "missing":
        del weights["model.norm.weight"]
    elif damage == "shape":
        weights["model.norm.weight"] = torch.ones(7)
    (folder / "model.safetensors").unlink()
    if damage != "none":
        save_file(weights, folder / "model.safetensors")
    with pytest.raises(DataError, match=said):
        fsdp2.sharded_model(folder, alone)


@pytest.mark.parametrize("how", ["recompute", "offload"])
def test_saved_activations_change_no_gradient(how: str) -> None:
    """Offload keeps the layers' inputs and nothing else, on the host; gradients are bit-identical."""
    ids = torch.randint(5, 4000, (1, 64), generator=torch.Generator().manual_seed(1))
    gradients = []
    for mode in ("keep", how):
        module = ModelWithLoss(plain())
        names = [name for name, _ in module.named_parameters()]
        save_activations(module.model.base_model.layers, mode, pin_memory=False)  # type: ignore[arg-type]
        assert [name for name, _ in module.named_parameters()] == names
        module(ids, ids, torch.arange(64)[None]).backward()
        gradients.append([parameter.grad for parameter in module.parameters()])
    assert all(torch.equal(left, right) for left, right in zip(*gradients, strict=True))


def test_a_process_without_samples_reaches_every_weight() -> None:
    """Else it would leave out a collective that the others wait for."""
    module = ModelWithLoss(plain())
    ids = torch.zeros((1, 2), dtype=torch.long)
    loss = module(ids, ids - 100, torch.arange(2)[None])
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in module.parameters())


def test_merged_adapters_are_those_of_the_single_device_stage() -> None:
    from peft import get_peft_model

    settings = LoraSettings(rank=4, alpha=8, target="all")
    model = get_peft_model(plain(), peft_config(settings, plain()))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_(generator=generator)
    base = model.get_base_model()
    mine = sharded_lora.merged(dict(base.state_dict()), settings)
    theirs = merged_state(model)
    assert mine.keys() == theirs.keys()
    assert all(torch.allclose(mine[name], theirs[name], atol=1e-5) for name in mine)


def test_adapters_start_the_same_however_they_are_cut(alone: fsdp2.Sharding) -> None:
    from torch.distributed.tensor import Shard, distribute_tensor

    name = "model.layers.0.mlp.up_proj.lora_A.default.weight"
    whole = distribute_tensor(torch.empty(6, 10), alone.mesh, [Shard(0)])
    sharded_lora.start_adapter(name, whole, 0, seed=3)
    again = distribute_tensor(torch.empty(6, 10), alone.mesh, [Shard(0)])
    sharded_lora.start_adapter(name, again, 0, seed=3)
    values = whole.to_local()
    assert torch.equal(values, again.to_local()) and values.abs().max() <= 1 / 10**0.5 and values.std() > 0
    sharded_lora.start_adapter(name, again, 0, seed=4)
    assert not torch.equal(values, again.to_local())


@pytest.mark.parametrize("scheduler", ["linear", "cosine", "constant_with_warmup"])
def test_the_learning_rate_follows_the_trainers_schedule(scheduler: str) -> None:
    from transformers import get_scheduler

    config = SftConfig(scheduler=scheduler)  # type: ignore[arg-type]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = get_scheduler(scheduler, optimizer, num_warmup_steps=3, num_training_steps=30)
    for step in range(30):
        assert learning_rate_share(config, step, 30) == pytest.approx(theirs.get_last_lr()[0]), step
        optimizer.step()
        theirs.step()


def test_a_run_continues_from_the_last_step_that_has_everything(tmp_path: Path) -> None:
    for step, complete in ((2, True), (4, True), (6, False)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if complete:
            (tmp_path / f"checkpoint-{step}" / MARKER).write_text("{}", "utf-8")
    for step in (4, 6):
        (tmp_path / f"state-{step}").mkdir()
    assert resume.prepare(tmp_path) == 4
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-2", "checkpoint-4", "state-4"}
    shutil.rmtree(tmp_path / "state-4")
    assert resume.prepare(tmp_path) == 0 and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("config", "launch", "error", "said"),
    [
        ({}, {"machines": 2}, UsageError, "--nnodes 2"),
        ({"packing": False}, {}, ConfigError, "sft.packing=true"),
        ({"anchor_weight": 0.1}, {}, ConfigError, "anchor_weight"),
        ({"attention": "eager"}, {}, ConfigError, "sdpa"),
    ],
)
def test_what_a_sharded_run_cannot_do_is_said_first(config: dict, launch: dict, error: type, said: str) -> None:
    with pytest.raises(error, match=said):
        require_supported(SftConfig(**config), LaunchConfig(**launch))


KILLED = """
  time      : 2026-11-21_18:00:00
  rank      : 1 (local_rank: 1)
  exitcode  : -9 (pid: 4711)
"""


@pytest.mark.parametrize(
    ("left", "printed", "error", "said"),
    [
        # The others' collectives break because of the first: the error with a cause of its own is told.
        ({0: ("RuntimeError", "closed", None), 1: ("DataError", "x is bad", 3)}, "", DataError, "^x is bad$"),
        ({0: ("RuntimeError", "Connection closed by peer", None)}, KILLED, EngineError, "process 1 .* SIGKILL"),
        ({0: ("RuntimeError", "Timed out waiting 5000ms", None)}, "", EngineError, "hangs, or its machine"),
        ({1: ("OutOfMemoryError", "no memory\nstack", None)}, "", EngineError, "OutOfMemoryError: no memory"),
        ({}, "", EngineError, "code 1 and no process"),
    ],
)  # fmt: skip
def test_the_failure_of_one_process_is_one_clear_error(
    tmp_path: Path, left: dict, printed: str, error: type, said: str
) -> None:
    for rank, (kind, message, code) in left.items():
        row = {"kind": kind, "message": message, "exit_code": code}
        (tmp_path / f"rank-{rank}.json").write_text(json.dumps(row), "utf-8")
    with pytest.raises(error, match=said):
        raise torchrun.failure(tmp_path, printed, 1, tmp_path / "log")


def test_the_zero3_file_gathers_weights_when_it_saves(tmp_path: Path) -> None:
    deepspeed.write(tmp_path / "zero3.json", offload_optimizer=True)
    config = json.loads((tmp_path / "zero3.json").read_text("utf-8"))
    assert config == deepspeed.zero3(offload_optimizer=True)
    stage = config["zero_optimization"]
    assert stage["stage"] == 3 and stage["stage3_gather_16bit_weights_on_model_save"]
    assert stage["offload_optimizer"]["device"] == "cpu" and "offload_param" not in stage


def test_room_for_checkpoints_and_the_state_to_continue_from() -> None:
    """By the nano model's own count of weights, stored in float32."""
    weights = sum(tensor.numel() for tensor in load_file(shipped_checkpoint() / "model.safetensors").values())
    full = room_needed(SftConfig(), shipped_checkpoint(), 3)
    assert full == pytest.approx((3 * 4 + 2 * 12) * weights, rel=0.01)  # and the file's header
    lora = room_needed(SftConfig(lora=LoraSettings()), shipped_checkpoint(), 3)
    assert lora == pytest.approx((3 * 4 + 2 * 4) * weights, rel=0.01)


def test_processes_can_be_asked_for_without_a_recipe_of_a_real_model() -> None:
    request = TrainRequest("sft", Path("model"), Path("corpus"), None, ("launch.processes=2",))
    config, launch = request.settings()
    assert isinstance(config, SftConfig) and launch == LaunchConfig(processes=2) and launch.world == 2
    with pytest.raises(ConfigError, match="processes"):
        TrainRequest("sft", Path("model"), Path("corpus"), None, ("launch.proceses=2",)).settings()
