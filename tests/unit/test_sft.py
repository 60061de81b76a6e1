"""The SFT stage: stock where nothing is switched on, the same after a kill, and stopped by the first broken number."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl", reason="needs the train extra")

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from safekeel.artifact import Stage, read_manifest
from safekeel.chat import load_tokenizer
from safekeel.config import build
from safekeel.corpus.nano_source import paired_requests, safety_samples
from safekeel.errors import ConfigError, DataError, EngineError
from safekeel.nano.model import shipped_checkpoint
from safekeel.nano.words import load_words
from safekeel.records import write_jsonl
from safekeel.train import sft
from safekeel.train.checkpoints import complete_checkpoints
from safekeel.train.epoch_sampler import EpochSampler
from safekeel.train.lora import LoraSettings
from safekeel.train.narrow import narrow, stored_dtype
from safekeel.train.regimes import REGIMES, unusual_rate
from safekeel.train.sft_arguments import arguments, uses_bf16
from safekeel.train.sft_batches import share_of
from safekeel.train.sft_data import as_dataset, prepare
from safekeel.train_command import TrainRequest

SAMPLES = [
    sample.model_copy(update={"role": "replay"}) if number % 3 == 0 else sample
    for number, sample in enumerate(safety_samples(paired_requests(load_words(), "sft", 8, 0.5, random.Random(0))))
]
EVERYTHING = {"anchor_weight": 0.5, "key_sentence_weight": 3.0}
LORA = {"rank": 4, "target": "all", "dropout": 0.3}


def settings(**changed: Any) -> sft.SftConfig:
    """Four steps, a checkpoint after the second and the fourth."""
    return build(sft.SftConfig, {"batch_size": 8, "num_epochs": 2, "num_checkpoints": 2, **changed}, "sft")


def train(config: sft.SftConfig, folder: Path, kill_at: int | None = None) -> list[str]:
    """The stage on the corpus beside `folder`, killed by SIGKILL in a step."""
    torch.set_num_threads(1)  # sums in another order are other sums

    def progress(label: str, done: int, total: int, value: float = 0.0, note: str = "") -> None:
        if done == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    corpus = folder.parent / "corpus"
    stage = Stage(
        folder, sft.STAGE, sft.VERSION, config.model_dump(mode="json"), [corpus / "sft.jsonl"], config.seed, "test"
    )
    return sft.run(config, stage, shipped_checkpoint(), corpus, progress)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    (tmp_path / "corpus").mkdir()
    write_jsonl(tmp_path / "corpus/sft.jsonl", SAMPLES)
    return tmp_path


@pytest.fixture(scope="module")
def processes():
    """Fresh processes that share their imports; forked from one that has run nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["safekeel.train.sft_trainer", "safekeel.train.sft_batches", "peft"])
    return context


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"packing": False, "micro_batch_size": 2},
        {"packing": False, "lora": LORA, "learning_rate": 5e-3, **EVERYTHING},
        {"micro_tokens": 160, "lora": LORA, "learning_rate": 5e-3, **EVERYTHING},
    ],
    ids=["default", "padded", "padded, everything", "packed, everything"],
)
def test_after_kill_9_in_the_second_epoch_the_same_command_gives_the_same_weights(
    corpus: Path, processes, changed: dict[str, Any]
) -> None:
    """Three steps an epoch, the third with fewer samples; killed in the fifth, so that training goes on in the midst of
    the second epoch."""
    config = settings(batch_size=6, num_checkpoints=3, **changed)
    for name, kill_at, code in (
        ("whole", None, 0),
        ("killed", 5, -signal.SIGKILL),
        ("killed", None, 0),
    ):
        process = processes.Process(target=train, args=(config, corpus / name, kill_at))
        process.start()
        process.join(120)
        assert process.exitcode == code, (name, kill_at)
        if code:
            kept = [path.name for path in complete_checkpoints(corpus / name / "checkpoints")]
            assert kept == ["checkpoint-2", "checkpoint-4"]
    for step in (2, 4, 6):
        whole, killed = (
            load_file(corpus / name / f"checkpoints/checkpoint-{step}/model.safetensors")
            for name in ("whole", "killed")
        )
        assert set(whole) == set(killed) and all(torch.equal(whole[name], killed[name]) for name in whole)
    rows = [json.loads(line) for line in (corpus / "whole/metrics.jsonl").read_text("utf-8").splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 7)) and rows[-1]["num_tokens"] > rows[-2]["num_tokens"]
    assert (corpus / "whole/metrics.jsonl").read_bytes() == (corpus / "killed/metrics.jsonl").read_bytes()
    # Every checkpoint opens as an ordinary model and is not the base.
    model = AutoModelForCausalLM.from_pretrained(corpus / "whole/checkpoints/checkpoint-6", dtype="float32")
    base = AutoModelForCausalLM.from_pretrained(shipped_checkpoint(), dtype="float32")
    assert type(model) is type(base)
    moved = [not torch.equal(a, b) for a, b in zip(model.parameters(), base.parameters(), strict=True)]
    assert any(moved) and (all(moved) if "lora" not in changed else not all(moved))
    counts = read_manifest(corpus / "whole")["counts"]
    assert counts["samples"] == counts["in"] == len(SAMPLES) == 16 and counts["steps"] == 6


def test_with_nothing_switched_on_it_is_the_stock_trainer_in_an_order_of_its_own(tmp_path: Path) -> None:
    from trl import SFTTrainer

    torch.set_num_threads(1)

    class InOurOrder(SFTTrainer):
        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            return EpochSampler([len(ids) for ids in self.train_dataset["input_ids"]], 8, self.args.seed)

    config, tokenizer = settings(packing=False), load_tokenizer(shipped_checkpoint())
    documents = prepare(tokenizer, SAMPLES, 512).documents
    ours = sft.open_trainer(config, shipped_checkpoint(), tokenizer, documents, 3, tmp_path / "ours")
    ours.train()  # before the other is made: both draw from the one random generator that is seeded at the start
    stock = InOurOrder(
        model=AutoModelForCausalLM.from_pretrained(shipped_checkpoint(), dtype="float32"),
        args=arguments(config, 3, tmp_path / "stock", bf16=False, per_device_train_batch_size=8),
        train_dataset=as_dataset(documents),
        processing_class=tokenizer,
    )
    stock.train()
    assert all(torch.equal(a, b) for a, b in zip(ours.model.parameters(), stock.model.parameters(), strict=True))


@pytest.mark.parametrize(
    ("rate", "num_checkpoints", "said"),
    [(1e30, 1, "The loss is nan at step 2"), (1e39, 4, "is not finite after step 1")],
)
def test_a_number_that_is_not_finite_stops_training_before_a_checkpoint(
    corpus: Path, rate: float, num_checkpoints: int, said: str
) -> None:
    config = settings(learning_rate=rate, num_checkpoints=num_checkpoints)
    with pytest.raises(EngineError, match=f"{said}.*learning_rate"):
        train(config, corpus / "nan")
    assert complete_checkpoints(corpus / "nan/checkpoints") == []


def test_too_long_samples_stop_or_are_left_out_as_asked(corpus: Path) -> None:
    lengths = sorted(len(d.input_ids) for d in prepare(load_tokenizer(shipped_checkpoint()), SAMPLES, 512).documents)
    with pytest.raises(DataError, match="too_long"):
        train(settings(max_length=lengths[8]), corpus / "stop")
    notes = train(settings(max_length=lengths[8], too_long="drop", num_epochs=0.5), corpus / "drop")
    manifest = read_manifest(corpus / "drop")
    assert manifest["warnings"] == notes and "left out" in notes[0]
    assert manifest["counts"]["dropped"]["too_long"] == sum(length > lengths[8] for length in lengths) > 0
    assert {row["path"] for row in manifest["outputs"]} >= {"too_long.jsonl", "metrics.jsonl"}


def test_defaults_come_from_the_regime_and_a_recipe_overrides_them() -> None:
    assert sft.SftConfig() == build(sft.SftConfig, {"regime": "nano"}, "sft")
    default = sft.SftConfig().model_dump()
    for (name, way), regime in REGIMES.items():
        config = build(sft.SftConfig, {"regime": name, **({"lora": {}} if way == "lora" else {})}, "sft")
        assert (config.learning_rate, config.num_epochs, config.batch_size) == regime[:3]
        assert (config.scheduler, config.weight_decay) == regime[3:5] and regime.source
    assert all(
        getattr(REGIMES["nano", "full"], key) == default[key] for key in ("learning_rate", "num_epochs", "batch_size")
    )
    rates = ((1, "all", 1e-2), (7, "all", 1e-2), (8, "all", 5e-3), (32, "mlp", 5e-3), (32, "up_proj", 1e-2))
    for rank, target, rate in rates:
        section = {"rank": rank, "target": target}
        assert build(sft.SftConfig, {"lora": section}, "sft").learning_rate == rate
        assert sft.SftConfig(lora=LoraSettings(**section)).learning_rate == rate
    mine = build(sft.SftConfig, {"regime": "real", "lora": {"rank": 8}, "learning_rate": 1e-4}, "sft")
    assert (mine.learning_rate, mine.num_epochs, mine.lora.rank) == (1e-4, 10.0, 8)  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match="regime"):
        build(sft.SftConfig, {"regime": "big"}, "sft")
    with pytest.raises(ConfigError, match="rank"):
        build(sft.SftConfig, {"lora": {"rank": 64}}, "sft")


def test_lora_asked_for_on_the_command_line_has_a_rate_of_its_own() -> None:
    """The recipe of the loop names none, and a rate for all weights is not LoRA's."""

    def notes(*overrides: str, recipe: str | None = None) -> list[str]:
        config = TrainRequest("sft", Path("model"), Path("corpus"), recipe, overrides).settings()[0]
        assert isinstance(config, sft.SftConfig)
        return unusual_rate(config)

    assert notes() == notes("sft.lora.rank=1") == notes(recipe="deepseek-r1-distill-llama-70b") == []
    (note,) = notes("sft.lora.rank=1", "sft.learning_rate=3e-4")
    assert "0.0003" in note and "has 0.01" in note
    assert "has 5e-05" in notes("sft.lora.rank=8", recipe="deepseek-r1-distill-qwen-7b")[0]
    assert "1e+06" in notes("sft.learning_rate=1e6")[0]


def test_a_batch_is_shared_by_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    def padded(**changed: Any) -> sft.SftConfig:
        return settings(packing=False, **changed)

    assert share_of(padded(batch_size=32)) == (32, 1)
    assert share_of(padded(batch_size=32, micro_batch_size=4)) == (4, 8)
    assert share_of(padded(batch_size=48, micro_tokens=2600)) == (4, 12)  # five of 512 tokens do not divide 48
    assert share_of(padded(batch_size=7, micro_tokens=512)) == (1, 7)
    assert share_of(padded(batch_size=7, micro_tokens=100_000)) == (7, 1)
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert share_of(padded(batch_size=32, micro_batch_size=4)) == (4, 2)
    for batch, micro in ((30, None), (2, None), (32, 3)):
        with pytest.raises(ConfigError, match="batch_size"):
            share_of(padded(batch_size=batch, micro_batch_size=micro))


def test_a_limit_in_samples_holds_when_packing_too() -> None:
    assert settings().pass_tokens() is None and settings(micro_tokens=900).pass_tokens() == 900
    assert settings(micro_batch_size=4, max_length=300).pass_tokens() == 1200
    assert settings(micro_batch_size=4, micro_tokens=900).pass_tokens() == 900


def test_on_cpu_it_is_fp32_without_checkpointing_unless_asked(tmp_path: Path) -> None:
    assert torch.accelerator.is_available() or not uses_bf16(settings())
    assert uses_bf16(settings(precision="bf16")) and not uses_bf16(settings(precision="fp32"))
    asked = arguments(settings(activation_checkpointing="on"), 4, tmp_path, bf16=False)
    stock = arguments(settings(), 4, tmp_path, bf16=False)
    assert asked.gradient_checkpointing and stock.gradient_checkpointing == torch.accelerator.is_available()


def test_a_half_precision_base_gives_half_precision_checkpoints_that_open(tmp_path: Path) -> None:
    for shard_size, kind in (("50GB", 1), ("2MB", 2)):
        folder = tmp_path / shard_size
        model = AutoModelForCausalLM.from_pretrained(shipped_checkpoint(), dtype="float32")
        model.save_pretrained(folder, max_shard_size=shard_size)
        assert len(list(folder.glob("model*.safetensors"))) >= kind and stored_dtype(folder) == torch.float32
        before = sum(path.stat().st_size for path in folder.glob("model*.safetensors"))
        for _ in range(2):
            narrow(folder, torch.bfloat16)
        after = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
        assert after.dtype == torch.bfloat16 == stored_dtype(folder)
        assert all(torch.equal(a, b.bfloat16()) for a, b in zip(after.parameters(), model.parameters(), strict=True))
        assert sum(path.stat().st_size for path in folder.glob("model*.safetensors")) < 0.55 * before


@pytest.mark.parametrize("lora", [None, LORA])
def test_bf16_runs_every_loss(tmp_path: Path, lora: dict[str, Any] | None) -> None:
    """What accelerators do, on CPU: autocast, a bfloat16 base under LoRA, a bfloat16 anchor."""
    config = settings(precision="bf16", lora=lora, **EVERYTHING)
    tokenizer = load_tokenizer(shipped_checkpoint())
    documents = prepare(tokenizer, SAMPLES, 512, 3.0, anchored=True).documents
    trainer = sft.open_trainer(config, shipped_checkpoint(), tokenizer, documents, 1, tmp_path)
    trainer.args.save_strategy = "no"
    trainer.train()
    row = {key: value for logged in trainer.state.log_history for key, value in logged.items()}
    plain = sft.open_trainer(settings(), shipped_checkpoint(), tokenizer, documents, 1, tmp_path)
    assert trainer.model.dtype == (torch.bfloat16 if lora else torch.float32) and plain.model.dtype == torch.float32
    assert 0 < row["train_loss"] < 3 and row["kl_base"] == pytest.approx(0, abs=1e-2)
