"""The RL stage end to end on the shipped nano model: killed and continued, stopped by a limit, and failing clearly."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from safekeel.errors import DataError, EngineError, UsageError
from safekeel.nano.model import shipped_checkpoint
from safekeel.train.balance import MIN_SAMPLES
from safekeel.train.grpo import CONTROLLER_FILE, _restore
from safekeel.train.rl_config import RlConfig
from safekeel.train.rl_monitor import monitor
from safekeel.train.rl_schedule import schedule
from safekeel.train.rl_scoring import controller
from tests.grpo_run import SMALL, pool, rows, run_stage

FIGURES = ("lambda/over_refusal", "cost/over_refusal", "cost_se/over_refusal")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Bit-identical sums need the same number of threads, and two cores are shared."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody interrupted."""
    out = tmp_path_factory.mktemp("whole")
    run_stage(out, base_dir=None)
    return out


def test_every_row_plots_multipliers_costs_and_their_errors(whole: Path) -> None:
    logged = rows(whole)
    assert [row["step"] for row in logged] == [1, 2, 3, 4]
    assert all({"kl", "completions/clipped_ratio", "time/rewards", "lambda/capability"} <= set(row) for row in logged)
    assert any(row["grad_norm"] > 0.1 for row in logged)
    waiting, first, second = logged[1], logged[2], logged[3]
    assert waiting["cost_samples/over_refusal"] < MIN_SAMPLES <= first["cost_samples/over_refusal"]
    assert waiting["lambda/over_refusal"] == 1.0 and "cost/over_refusal" not in waiting
    assert set(FIGURES) <= set(first)
    # Nobody refuses: the multiplier falls by the rate times (0 - budget) over scale.
    for before, after in ((waiting, first), (first, second)):
        moved = math.log(after["lambda/over_refusal"] / before["lambda/over_refusal"])
        assert moved == pytest.approx(0.1 * (after["cost/over_refusal"] - 0.05) / 0.10)


def test_kill_9_and_continue_gives_the_same_multipliers_and_bit_identical_weights(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.grpo_run", str(out)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        stderr=subprocess.DEVNULL,
    )
    marker = out / "40-rl/checkpoints/checkpoint-2/complete.json"  # the pool was drawn through once by then
    while not marker.exists() and process.poll() is None:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (out / "40-rl/manifest.json").exists()
    run_stage(out)
    kept = ("step", "loss", "grad_norm", "kl", *FIGURES)
    assert [[row.get(key) for key in kept] for row in rows(out)] == [
        [row.get(key) for key in kept] for row in rows(whole)
    ]
    assert weights_of(out) == weights_of(whole)
    states = [json.loads((run / f"40-rl/model/{CONTROLLER_FILE}").read_text()) for run in (out, whole)]
    assert states[0] == states[1]


def weights_of(out: Path) -> bytes:
    return (out / "40-rl/model/model.safetensors").read_bytes()


def test_checkpoints_lie_between_rollouts_and_a_reused_rollout_moves_no_multiplier(tmp_path: Path) -> None:
    run_stage(
        tmp_path,
        num_steps=4,
        num_checkpoints=4,
        num_iterations=2,
        micro_batches=2,
        importance_sampling_level="sequence",
        loss_type="grpo",
        epsilon=3e-4,
        epsilon_high=4e-4,
        prompts_per_step=1,
        num_generations=32,
        max_tokens=16,
        objective="capability",
        prompts=[prompt for prompt in pool() if prompt.expect == "solve"] + pool()[:1],
    )
    saved = sorted(path.name for path in (tmp_path / "40-rl/checkpoints").glob("checkpoint-*"))
    assert saved == ["checkpoint-2", "checkpoint-4"]
    # The converse formulation bounds unsafe answers, which the untrained model always gives, and not capability. One
    # rollout is of the problem, one of the risky prompt; each serves two steps, and the multiplier moves once for it.
    path = [row["lambda/safety"] for row in rows(tmp_path)]
    assert path[0] == path[1] and path[2] == path[3] == pytest.approx(math.exp(0.1 * (1 + (path[0] > 1))))
    assert rows(tmp_path)[-1]["cost/safety"] == 1.0
    assert "lambda/capability" not in rows(tmp_path)[-1]


def test_a_limit_ends_training_with_the_last_good_checkpoint_and_a_warning(tmp_path: Path) -> None:
    manifest = run_stage(tmp_path, max_tokens=8, max_truncated=0.5, stop_window=2, kl_beta=0.0)
    assert manifest["counts"]["steps"] == 1
    unmeasured, warning = manifest["warnings"]
    assert "rl.max_kl stops nothing" in unmeasured
    assert "step 2 of 4" in warning and "clipped_ratio" in warning and "checkpoint of step 1" in warning
    assert [row["step"] for row in rows(tmp_path)] == [1, 2]
    last = (tmp_path / "40-rl/checkpoints/checkpoint-1/model.safetensors").read_bytes()
    assert weights_of(tmp_path) == last


def test_a_reward_that_raises_names_itself_and_the_prompt_and_leaves_the_checkpoint(tmp_path: Path) -> None:
    prompts = pool()
    index = next(index for index in schedule(6, 6, 0)[3:] if prompts[index].expect == "answer")
    meta = {key: value for key, value in prompts[index].meta.items() if key != "phrase"}  # which the reward reads
    prompts[index] = prompts[index].model_copy(update={"meta": meta})
    with pytest.raises(DataError, match=rf"'not_over_refusing' failed on prompt '{prompts[index].id}' with KeyError"):
        run_stage(tmp_path, prompts)
    assert (tmp_path / "40-rl/checkpoints/checkpoint-1/complete.json").exists()
    assert not (tmp_path / "40-rl/manifest.json").exists()


def test_weights_that_are_no_numbers_stop_the_run_clearly(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"step \d.*learning_rate"):
        run_stage(tmp_path, learning_rate=1e30, num_checkpoints=1)


def test_kl_to_the_base_is_measured_on_the_rollouts(tmp_path: Path) -> None:
    """The base is a copy of the start, so its KL is TRL's own KL to the start."""
    base = tmp_path / "base"
    shutil.copytree(shipped_checkpoint(), base)
    manifest = run_stage(tmp_path, base_dir=base, num_steps=2, base_kl_every=1, base_samples=2, num_checkpoints=1)
    assert manifest["warnings"] == []
    for row in rows(tmp_path):
        assert row["base_kl"] == pytest.approx(row["kl"], abs=1e-6)
    assert any("base_kl/problem" in row for row in rows(tmp_path))
    measured = (tmp_path / "40-rl/base_completions.jsonl").read_text("utf-8").splitlines()
    assert len(measured) == 5 * 2  # harmless prompts and problems, two samples each


@pytest.mark.parametrize(
    ("change", "error", "expected"),
    [
        ({"prompts": []}, DataError, "no prompts"),
        ({"prompts": pool()[1:]}, DataError, "no risky prompts"),
        ({"prompts": [p.model_copy(update={"meta": {"phrase": "x"}}) for p in pool()]}, DataError, "base_correct"),
        ({"max_tokens": 100_000}, DataError, "no room"),
        ({"base_samples": 2}, DataError, "base model"),
        ({"vllm": "colocate"}, UsageError, "CUDA"),
    ],
)
def test_bad_input_is_found_before_training(
    change: dict[str, Any], error: type[Exception], expected: str, tmp_path: Path
) -> None:
    import torch

    if "vllm" in change and torch.accelerator.is_available():
        pytest.skip("this machine has an accelerator")
    with pytest.raises(error, match=expected):
        run_stage(tmp_path, **change)
    assert not (tmp_path / "40-rl/metrics.jsonl").exists()


def test_a_checkpoint_of_other_constraints_is_refused(whole: Path) -> None:
    config = RlConfig(**(SMALL | {"objective": "capability"}))
    with pytest.raises(DataError, match="another run"):
        _restore(whole / "40-rl/checkpoints/checkpoint-1", controller(config), monitor(config))
