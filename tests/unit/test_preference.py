"""The preference stage: the loss is SafeDPO's, the reference is the starting model, a kill -9 changes no bit."""

from __future__ import annotations

import json
import math
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the train extra")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM
from typer.testing import CliRunner

from safekeel.artifact import Stage, read_manifest
from safekeel.chat import load_tokenizer
from safekeel.corpus.nano_source import paired_requests, safety_samples
from safekeel.errors import DataError, EngineError, UsageError
from safekeel.nano.model import shipped_checkpoint
from safekeel.nano.words import load_words
from safekeel.records import read_jsonl, write_jsonl
from safekeel.train import preference
from safekeel.train.preference import PreferenceConfig, num_steps
from safekeel.train.preference_data import Dropped, Preference, relabel, tokenise
from safekeel.train.preference_sources import nano_pairs
from safekeel.train.preference_trainer import MarginCollator, open_trainer, preference_losses, with_reference
from tests.helpers import environment

SAMPLES = [
    sample.model_copy(update={"pair": sample.id.replace("counter/", "risky/") if sample.role == "counter" else None})
    for sample in safety_samples(paired_requests(load_words(), "sft", 12, 0.5, random.Random(0)))
]
PAIRS = nano_pairs(SAMPLES).pairs
TINY = {"batch_size": 8, "micro_batch_size": 8, "learning_rate": 1e-3, "num_epochs": 2.0, "num_checkpoints": 3}
"""24 pairs in batches of 8, two epochs: six steps, a checkpoint after every second."""
finite = st.floats(-50, 50)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model with the nano tokenizer: as real as any to a trainer, and ten times faster."""
    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = load_tokenizer(shipped_checkpoint())
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_jsonl(folder / "sft.jsonl", SAMPLES)
    return folder


def stage_for(config: PreferenceConfig, out: Path, model: Path, corpus: Path) -> Stage:
    inputs = preference.stage_inputs(config, model, corpus)
    return Stage(out, preference.STAGE, "1", config.model_dump(mode="json"), inputs, config.seed, "test")


def run(out: Path, model: Path, corpus: Path, progress: Any = lambda *a, **k: None, **settings: Any) -> list[str]:
    """The stage as the command runs it; returns what it told the user."""
    config, said = PreferenceConfig(**TINY | settings), []
    preference.run(config, stage_for(config, out, model, corpus), model, corpus, progress, said.append)
    return said


@given(finite, finite, st.floats(0, 20), st.floats(0.01, 1))
@settings(max_examples=200, deadline=None)
def test_the_loss_is_safedpos_formula(chosen: float, rejected: float, margin: float, beta: float) -> None:
    """log(1 + exp(−(β·h − Δ))) by Python's floats."""
    to = lambda value: torch.tensor([value], dtype=torch.float64)  # noqa: E731
    logit = beta * (chosen - rejected) - margin
    expected = max(-logit, 0.0) + math.log1p(math.exp(-abs(logit)))
    assert preference_losses(to(chosen), to(rejected), to(margin), beta).item() == pytest.approx(expected, rel=1e-12)


def test_the_margin_keeps_pulling_where_plain_dpo_is_content() -> None:
    ratios = torch.tensor([20.0, 20.0], dtype=torch.float64, requires_grad=True)
    losses = preference_losses(ratios, torch.zeros_like(ratios), torch.tensor([0.0, 10.0], dtype=torch.float64), 0.1)
    (gradient,) = torch.autograd.grad(losses.sum(), ratios)
    # −β·σ(Δ − β·h): σ(−2) and σ(8)
    assert gradient.tolist() == pytest.approx([-0.1 / (1 + math.exp(2)), -0.1 / (1 + math.exp(-8))], rel=1e-12)


def test_ids_arrive_whole_and_the_loss_agrees_with_stock_trl_and_with_plain_logits(tiny: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(tiny)
    rows = tokenise(tokenizer, relabel(PAIRS).pairs, 512, 0.0).rows
    config = PreferenceConfig(**TINY | {"sft_weight": 0.7, "beta": 0.3})
    trainer, reference = open_trainer(config, tiny, tokenizer, rows, 2, tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype="float32")

    def log_probability(prompt: list[int], completion: list[int]) -> float:
        """By the plain model, one text at a time, without padding."""
        logits = model(torch.tensor([prompt + completion])).logits[0, :-1].log_softmax(-1)
        return logits[len(prompt) - 1 :].gather(1, torch.tensor(completion)[:, None]).sum().item()

    for place in (0, 1, 23):
        row = rows[place]
        plain = [log_probability(row["prompt_ids"], row[name]) for name in ("chosen_ids", "rejected_ids")]
        assert [reference[name][place] for name in reference] == pytest.approx(plain, rel=1e-5)

    with torch.no_grad():
        trainer.model.model.embed_tokens.weight.mul_(1.3)  # away from the reference
    batch = next(iter(trainer.get_train_dataloader()))
    first = batch["input_ids"][0][batch["completion_mask"][0].bool()].tolist()
    assert first in [row["chosen_ids"] for row in rows]
    own = trainer.compute_loss(trainer.model, batch)
    trainer.loss_types, trainer.loss_weights = ["sigmoid", "sft"], [1.0, 0.7]
    stock = super(type(trainer), trainer).compute_loss(trainer.model, {k: batch[k] for k in batch if k != "margin"})
    assert own.item() == pytest.approx(stock.item(), rel=1e-6)
    batch["margin"] += 2.0
    assert trainer.compute_loss(trainer.model, batch).item() > own.item()


def test_the_collator_keeps_margins_with_their_pairs_and_cuts_nothing() -> None:
    row = {"prompt_ids": [1], "chosen_ids": [2, 3], "rejected_ids": [4], "length": 3}
    other = {"prompt_ids": [5] * 300, "chosen_ids": [6] * 1500, "rejected_ids": [7], "length": 1800}
    batch = MarginCollator(pad_token_id=0)([row | {"margin": 5.0}, other | {"margin": 0.0}])
    assert batch["margin"].tolist() == [5.0, 0.0]
    assert batch["input_ids"].shape == (4, 1800) and batch["completion_mask"].sum(1).tolist() == [2, 1500, 1, 1]


def test_a_run_writes_pairs_metrics_checkpoints_and_a_model_that_prefers_the_chosen(
    tiny: Path, corpus: Path, tmp_path: Path
) -> None:
    said = run(tmp_path / "out", tiny, corpus, num_epochs=4.0, sft_weight=1.0)
    assert said == ["preference: 24 pairs (12 safe over unsafe, 0 flipped), "
                    f"{read_manifest(tmp_path / 'out')['counts']['tokens']} tokens; dropped: none"]  # fmt: skip
    metrics = [json.loads(line) for line in (tmp_path / "out/metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in metrics] == list(range(1, 13))
    assert metrics[0]["rewards/margins"] == pytest.approx(0, abs=1e-4)  # the reference is the starting model
    assert metrics[-1]["rewards/margins"] > 0.05 and metrics[-1]["loss/sft"] < metrics[0]["loss/sft"]
    assert {"loss", "rewards/accuracies", "kl/chosen", "kl/rejected", "num_tokens"} <= metrics[-1].keys()
    assert metrics[-1]["num_tokens"] == pytest.approx(4 * read_manifest(tmp_path / "out")["counts"]["tokens"])
    assert len(read_jsonl(tmp_path / "out/pairs.jsonl", Preference)) == 24
    last = sorted((tmp_path / "out/checkpoints").glob("checkpoint-*"))
    assert {path.name for path in last} == {"checkpoint-4", "checkpoint-8", "checkpoint-12"}
    final = load_file(tmp_path / "out/model/model.safetensors")
    same = load_file(tmp_path / "out/checkpoints/checkpoint-12/model.safetensors")
    assert all(torch.equal(final[name], same[name]) for name in final)
    assert not (tmp_path / "out/model/optimizer.pt").exists() and not (tmp_path / "out/reference.json").exists()
    config = PreferenceConfig(**TINY | {"num_epochs": 4.0, "sft_weight": 1.0})
    assert stage_for(config, tmp_path / "out", tiny, corpus).is_current()


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.unit.test_preference import run
def progress(label, done, total, value=0.0, note=""):
    if done == 5:
        os.kill(os.getpid(), signal.SIGKILL)
run(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), progress)
"""


def test_kill_nine_and_the_same_command_give_the_same_bits(tiny: Path, corpus: Path, tmp_path: Path) -> None:
    """Killed in step 5 of 6, after the checkpoint of step 4: the second attempt continues there."""
    arguments = [sys.executable, "-c", KILLED, *map(str, (tmp_path / "killed", tiny, corpus))]
    done = subprocess.run(arguments, env=environment(), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert (tmp_path / "killed/checkpoints/checkpoint-4/complete.json").exists()
    (tmp_path / "killed/checkpoints/checkpoint-5").mkdir()  # what a kill inside a save leaves
    steps: list[int] = []
    run(tmp_path / "killed", tiny, corpus, lambda label, done, *rest, **more: steps.append(done))
    assert steps == [5, 6]
    run(tmp_path / "whole", tiny, corpus)
    again, whole = (load_file(tmp_path / name / "model/model.safetensors") for name in ("killed", "whole"))
    assert again.keys() == whole.keys() and all(torch.equal(again[name], whole[name]) for name in whole)
    rows = [
        [json.loads(line)["loss"] for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("killed", "whole")
    ]
    assert rows[0] == rows[1] and len(rows[0]) == 6


def test_weights_that_are_not_finite_stop_before_the_first_update(tiny: Path, corpus: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    load_tokenizer(tiny).save_pretrained(broken)
    (broken / "config.json").write_bytes((tiny / "config.json").read_bytes())
    weights = load_file(tiny / "model.safetensors")
    weights["model.norm.weight"][0] = float("nan")
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(EngineError, match=r"step 1 is nan.*learning_rate"):
        run(tmp_path / "out", broken, corpus)
    assert not (tmp_path / "out/manifest.json").exists()


def test_long_pairs_are_shown_and_counted_and_none_left_is_an_error(tiny: Path, corpus: Path, tmp_path: Path) -> None:
    lengths = sorted(row["length"] for row in tokenise(load_tokenizer(tiny), PAIRS, 512, 0.0).rows)
    limit = lengths[-3]
    said = run(tmp_path / "out", tiny, corpus, max_length=limit, num_epochs=0.2)
    too_long = sum(length > limit for length in lengths)
    assert f"dropped: too_long {too_long}" in said[0] and f"WARNING: {too_long} pairs are longer" in said[1]
    manifest = read_manifest(tmp_path / "out")
    assert manifest["counts"]["dropped"] == {"too_long": too_long} and len(manifest["warnings"]) == 1
    assert len(read_jsonl(tmp_path / "out/rejected.jsonl", Dropped)) == too_long
    with pytest.raises(DataError, match=r"no preference pair.*too_long 24.*max_length \(now 16\)"):
        run(tmp_path / "none", tiny, corpus, max_length=16)


def test_pairs_that_say_the_same_or_no_pairs_are_clear_errors(tiny: Path, tmp_path: Path) -> None:
    same, folder = tmp_path / "same.jsonl", tmp_path / "corpus"
    folder.mkdir()
    write_jsonl(same, [PAIRS[0].model_copy(update={"rejected": PAIRS[0].chosen})])
    write_jsonl(folder / "sft.jsonl", [])
    with pytest.raises(DataError, match=r"identical 1.*must differ"):
        run(tmp_path / "out", tiny, folder, files=(str(same),))
    with pytest.raises(DataError, match="the sources are empty"):
        run(tmp_path / "out", tiny, folder)
    write_jsonl(folder / "sft.jsonl", SAMPLES[:3])
    with pytest.raises(DataError, match=r"no_wrong_answer 3.*its judge called harmful"):
        run(tmp_path / "out", tiny, folder, sources=("corpus",))


def test_a_base_without_chat_template_or_batches_that_do_not_fit(tiny: Path, corpus: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    AutoModelForCausalLM.from_pretrained(tiny).save_pretrained(bare)
    tokenizer = load_tokenizer(tiny)
    tokenizer.chat_template = None
    tokenizer.save_pretrained(bare)
    with pytest.raises(DataError, match="no chat template"):
        run(tmp_path / "out", bare, corpus)
    with pytest.raises(UsageError, match=r"no multiple of preference\.micro_batch_size 3"):
        run(tmp_path / "out", tiny, corpus, micro_batch_size=3)


def test_reference_values_of_other_rows_are_not_used() -> None:
    rows = [{"margin": 0.0}, {"margin": 1.0}]
    values = {"ref_chosen_logps": [-1.0, -2.0], "ref_rejected_logps": [-3.0, -4.0]}
    assert with_reference(rows, values)[1] == {"margin": 1.0, "ref_chosen_logps": -2.0, "ref_rejected_logps": -4.0}
    for other in (None, {}, {"ref_chosen_logps": [-1.0, -2.0]}, {name: [1.0] for name in values}):
        assert with_reference(rows, other) == rows


def test_steps_count_the_last_smaller_batch() -> None:
    config = PreferenceConfig(batch_size=32, micro_batch_size=32, num_epochs=2.0)
    assert [num_steps(config, pairs) for pairs in (1, 32, 33, 64)] == [2, 2, 4, 4]
    assert num_steps(config.model_copy(update={"num_epochs": 0.1}), 64) == 1


def test_the_command_names_what_is_wrong(corpus: Path, tiny: Path, tmp_path: Path) -> None:
    import typer

    from safekeel.commands.train_preference import train_preference

    app = typer.Typer()
    app.command()(train_preference)

    def fails(*arguments: str) -> str:
        done = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "out")])
        assert done.exception is not None
        return f"{type(done.exception).__name__}: {done.exception}"

    at = ["--corpus", str(corpus)]
    assert "UsageError" in fails("no-scheme", *at) and "hf:PATH" in fails("no-scheme", *at)
    assert "no such folder" in fails("hf:nowhere", *at)
    assert "sft.jsonl does not exist" in fails(f"hf:{tiny}", "--corpus", str(tmp_path))
    assert "Did you mean 'beta'" in fails(f"hf:{tiny}", *at, "--set", "preference.bet=1")
    assert "Did you mean 'preference'" in fails(f"hf:{tiny}", *at, "--set", "preferense.beta=1")
    assert "allow_benchmarks" in fails(f"hf:{tiny}", *at, "--set", 'preference.sources=["jade"]')
