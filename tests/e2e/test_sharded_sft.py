"""Two processes on CPU: the same losses and weights as the single-device stage, and failures that end in an error."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from safetensors.torch import load_file  # noqa: E402

from safekeel.artifact import Stage  # noqa: E402
from safekeel.corpus.nano_source import paired_requests, safety_samples  # noqa: E402
from safekeel.errors import EngineError, SafeKeelError  # noqa: E402
from safekeel.nano.model import shipped_checkpoint  # noqa: E402
from safekeel.nano.words import load_words  # noqa: E402
from safekeel.records import write_jsonl  # noqa: E402
from safekeel.train import sft  # noqa: E402
from safekeel.train.launch import sharded  # noqa: E402

CONFIG = sft.SftConfig(batch_size=8, num_epochs=2, num_checkpoints=2, micro_tokens=256)


def stage_at(folder: Path) -> Stage:
    return Stage(folder, "sft", "test", CONFIG.model_dump(mode="json"), [], 0, "test")


def quiet(label: str, done: int, total: int, value: float = 0.0, note: str = "") -> None:
    """No progress."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    samples = safety_samples(paired_requests(load_words(), "sft", 20, 0.5, random.Random(0)))
    write_jsonl(folder / "sft.jsonl", samples[:40])
    return folder


def run_two(folder: Path, corpus: Path, timeout_seconds: float = 120.0) -> None:
    launch = sharded.LaunchConfig(processes=2, timeout_seconds=timeout_seconds)
    sharded.run(CONFIG, launch, stage_at(folder), shipped_checkpoint(), corpus, quiet)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    """A finished run on two processes."""
    folder = tmp_path_factory.mktemp("two") / "20-sft"
    run_two(folder, corpus)
    return folder


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]


def test_two_processes_learn_what_one_does(two: Path, corpus: Path, tmp_path: Path) -> None:
    """Against the Trainer's stage on one process: loss curve and learning rates within 1e-4, weights within 1e-4."""
    one = tmp_path / "20-sft"
    sft.run(CONFIG, stage_at(one), shipped_checkpoint(), corpus, quiet)
    losses = {row["step"]: row for row in rows(two)}
    assert list(losses) == list(range(1, 11))
    logged = [row for row in rows(one) if "loss" in row]
    assert [row["step"] for row in logged] == list(losses)
    for row in logged:
        assert losses[row["step"]]["loss"] == pytest.approx(row["loss"], abs=1e-4)
        assert losses[row["step"]]["learning_rate"] == pytest.approx(row["learning_rate"])
    names = [path.name for path in sorted((one / "checkpoints").glob("checkpoint-*"))]
    assert (
        names
        == [path.name for path in sorted((two / "checkpoints").glob("checkpoint-*"))]
        == ["checkpoint-10", "checkpoint-5"]
    )
    for name in names:
        left, right = (load_file(path / "checkpoints" / name / "model.safetensors") for path in (one, two))
        assert left.keys() == right.keys()
        assert max(float((left[key] - right[key]).abs().max()) for key in left) < 1e-4
    base = load_file(shipped_checkpoint() / "model.safetensors")
    assert max(float((right[key] - base[key]).abs().max()) for key in base) > 1e-3  # and something was learned


def test_the_result_is_an_ordinary_model(two: Path) -> None:
    from transformers import AutoModelForCausalLM

    folder = two / "checkpoints/checkpoint-10"
    model, found = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not found["missing_keys"] and not found["unexpected_keys"] and model.config.use_cache
    manifest = json.loads((two / "manifest.json").read_text("utf-8"))
    assert manifest["counts"]["processes"] == 2 and manifest["counts"]["steps"] == 10


def workers(folder: Path) -> list[int]:
    """Numbers of the running processes of a job, without their launcher."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode().split("\0")
        except OSError:  # it ended meanwhile
            continue
        if str(folder / "job.json") in words and "torch.distributed.run" not in words:
            found.append(int(path.parent.name))
    return sorted(found)


def fail_one(
    folder: Path, corpus: Path, number: int, ready: Callable[[], bool], timeout_seconds: float
) -> SafeKeelError:
    """Run, and once `ready`, send one process a signal; gives the error of the run."""
    raised: list[SafeKeelError] = []

    def attempt() -> None:
        try:
            run_two(folder, corpus, timeout_seconds)
        except SafeKeelError as error:
            raised.append(error)

    thread = threading.Thread(target=attempt)
    thread.start()
    deadline = time.monotonic() + 120
    while not (ready() and len(workers(folder)) == 2):
        assert time.monotonic() < deadline and thread.is_alive()
        time.sleep(0.02)
    os.kill(workers(folder)[1], number)
    thread.join(120)
    assert not thread.is_alive() and raised
    assert not workers(folder)
    return raised[0]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds processes in /proc")
def test_a_killed_process_ends_the_run_which_then_continues_bit_for_bit(
    two: Path, corpus: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "20-sft"
    error = fail_one(
        folder, corpus, signal.SIGKILL, lambda: (folder / "checkpoints/checkpoint-5/complete.json").exists(), 120
    )
    assert isinstance(error, EngineError) and "SIGKILL" in str(error)
    assert not (folder / "manifest.json").exists()
    run_two(folder, corpus)
    left, right = (load_file(path / "checkpoints/checkpoint-10/model.safetensors") for path in (two, folder))
    assert all(torch.equal(left[key], right[key]) for key in left)
    assert [row["loss"] for row in rows(folder)] == [row["loss"] for row in rows(two)]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds processes in /proc")
def test_a_process_that_hangs_ends_the_run(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "20-sft"
    metrics = folder / "metrics.jsonl"
    error = fail_one(folder, corpus, signal.SIGSTOP, lambda: metrics.exists() and metrics.stat().st_size > 0, 5)
    assert isinstance(error, EngineError) and "hangs" in str(error), error
