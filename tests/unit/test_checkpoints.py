"""Checkpoints: whole or not there, written by one process, and refused before the disk is full."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("trl", reason="needs the train extra")

from accelerate.data_loader import BatchSamplerShard, DataLoaderShard, skip_first_batches
from torch.utils.data import BatchSampler
from transformers import TrainerControl, TrainerState, TrainingArguments

from safekeel.errors import DataError
from safekeel.train.checkpoints import (
    StageCallback,
    complete_checkpoints,
    discard_incomplete,
    kept_rows,
    rising_loss,
    write_rows,
)
from safekeel.train.disk import is_disk_full, no_space, require_room
from safekeel.train.epoch_sampler import EpochSampler, EpochStart


def rows(*steps: int) -> list[dict]:
    return [{"step": step, "loss": 1 / 3} for step in steps]


@pytest.mark.parametrize("is_first", [True, False])
def test_only_the_first_process_of_a_run_writes(tmp_path: Path, is_first: bool) -> None:
    metrics, folder, told = tmp_path / "metrics.jsonl", tmp_path / "checkpoint-3", []
    write_rows(metrics, rows(1, 2, 3))
    folder.mkdir()
    callback = StageCallback(metrics, "sft", lambda label, done, total, value: told.append(done), 2)
    args = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none")
    state = TrainerState(global_step=3, max_steps=6, is_world_process_zero=is_first)
    control = TrainerControl()
    callback.on_train_begin(args, state, control)
    assert kept_rows(metrics, 9) == rows(*((1, 2) if is_first else (1, 2, 3)))  # step 3 comes again after a kill
    callback.on_log(args, state, control, {"loss": 0.5, "name": "text"})
    callback.on_step_end(args, state, control)
    callback.on_save(args, state, control)
    assert kept_rows(metrics, 9)[2:] == ([{"step": 3, "loss": 0.5}] if is_first else rows(3))
    assert told == ([3] if is_first else []) and complete_checkpoints(tmp_path) == ([folder] if is_first else [])


def test_rows_that_a_kill_cut_off_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert kept_rows(path, 5) == []
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(1, 2)) + '{"step": 3, "lo', "utf-8")
    assert kept_rows(path, 5) == rows(1, 2) and kept_rows(path, 1) == rows(1)


def test_a_loss_that_rises_is_told_and_noise_is_not() -> None:
    def told(*losses: float) -> list[str]:
        return rising_loss([{"step": step, "loss": loss} for step, loss in enumerate(losses, 1)], "sft")

    (note,) = told(0.76, 11.2, 10.3, 10.1)
    assert "from 0.76 to 10.1" in note and "sft.learning_rate" in note
    assert told(*[1.0] * 10, *[2.0] * 10) and not told(*[1.0] * 19, 2.0)  # means of two rows
    assert told(2.0, 1.0) == told(1.0, 1.4) == told(1.0) == told() == []


def test_half_written_checkpoints_are_discarded(tmp_path: Path) -> None:
    for step in (2, 10):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}/complete.json").write_text("{}")
    (tmp_path / "checkpoint-12").mkdir()
    discard_incomplete(tmp_path)
    assert [path.name for path in complete_checkpoints(tmp_path)] == ["checkpoint-2", "checkpoint-10"]
    assert not (tmp_path / "checkpoint-12").exists()


def test_a_run_without_room_for_its_checkpoints_is_refused(tmp_path: Path) -> None:
    require_room(tmp_path / "not/yet", 1, 4)
    with pytest.raises(DataError, match=r"a checkpoint needs up to .* GiB.*last complete checkpoint"):
        require_room(tmp_path, 2**62)
    with pytest.raises(DataError, match=r"the 4 checkpoints to come need.*num_checkpoints"):
        require_room(tmp_path / "not/yet", 2**62, 4)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="writes to /dev/full")
def test_a_full_disk_is_known_by_its_number_and_by_its_words() -> None:
    with pytest.raises(OSError) as caught:
        Path("/dev/full").write_text("x")
    assert caught.value.errno == errno.ENOSPC and is_disk_full(caught.value)
    with (
        pytest.raises(DataError, match=r"out cannot be written: No space left on device\. Go on\."),
        no_space(Path("out"), "Go on."),
    ):
        Path("/dev/full").write_text("x")
    with pytest.raises(DataError, match=r"^said: No space left on device$"), no_space(Path("out")):
        raise DataError("said: No space left on device")
    with pytest.raises(ValueError), no_space(Path("out")):
        raise ValueError("another")
    assert is_disk_full(RuntimeError(f"safetensors: I/O error: {caught.value}"))
    assert not is_disk_full(OSError(errno.EACCES, "Permission denied")) and not is_disk_full(ValueError("disk"))


def test_two_processes_that_continue_inside_an_epoch_go_on_with_its_order() -> None:
    """Accelerate's loader that skips batches does not pass `set_epoch` on to a sampler shared by processes."""
    lengths = list(range(1, 41))
    whole = EpochSampler(lengths, 8, 0)
    whole.set_epoch(1)
    order = list(whole)
    for told in (False, True):
        seen = []
        for rank in range(2):
            sampler = EpochSampler(lengths, 8, 0)
            shard = BatchSamplerShard(BatchSampler(sampler, 4, drop_last=False), 2, rank)
            loader = skip_first_batches(DataLoaderShard(list(range(40)), batch_sampler=shard), 2)
            if told:
                EpochStart(sampler).on_epoch_begin(None, SimpleNamespace(epoch=1.4), None)
            loader.set_epoch(1)
            seen.append([batch.tolist() for batch in loader])
        merged = [sample for step in zip(*seen, strict=True) for batch in step for sample in batch]
        assert (merged == order[16:]) == told
