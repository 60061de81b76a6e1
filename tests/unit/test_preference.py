"""The preference stage: what it writes, a kill -9 changes no bit, and bad input is told before hours are spent."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the train extra")

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from safekeel.artifact import Stage, read_manifest
from safekeel.chat import load_tokenizer
from safekeel.corpus.nano_source import capability_prompts
from safekeel.corpus.sample import Sample
from safekeel.errors import DataError, EngineError, UsageError
from safekeel.nano.words import load_words
from safekeel.records import read_jsonl, write_jsonl
from safekeel.train import preference
from safekeel.train.lora import LoraSettings
from safekeel.train.preference import PreferenceConfig, num_steps
from safekeel.train.preference_data import Dropped, Preference, tokenise
from tests.helpers import environment
from tests.tiny_preference import PAIRS, SAMPLES, TINY, save_tiny_model


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    save_tiny_model(folder)
    return folder


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    problems = [
        Sample(id=prompt.id, role="replay", prompt=prompt, thought="3 + 4 = 7", answer="The answer is 7.")
        for prompt in capability_prompts(load_words(), "sft", 6, random.Random(0), "replay")
    ]
    write_jsonl(folder / "sft.jsonl", [*SAMPLES, *problems])
    return folder


def stage_for(config: PreferenceConfig, out: Path, model: Path, corpus: Path) -> Stage:
    inputs = preference.stage_inputs(config, model, corpus)
    return Stage(out, preference.STAGE, "1", config.model_dump(mode="json"), inputs, config.seed, "test")


def run(out: Path, model: Path, corpus: Path, progress: Any = lambda *a, **k: None, **settings: Any) -> list[str]:
    """The stage as the command runs it; returns what it told the user."""
    config, said = PreferenceConfig(**TINY | settings), []
    preference.run(config, stage_for(config, out, model, corpus), model, corpus, progress, said.append)
    return said


def test_a_run_writes_pairs_metrics_checkpoints_and_a_model_that_prefers_the_chosen(
    tiny: Path, corpus: Path, tmp_path: Path
) -> None:
    settings = {"num_epochs": 4.0, "sft_weight": 0.0, "learning_rate": 3e-3, "num_gauge_texts": 4}
    (said,) = run(tmp_path / "out", tiny, corpus, **settings)
    counts = read_manifest(tmp_path / "out")["counts"]
    told = f"24 pairs (12 safe over unsafe, 0 flipped), {counts['tokens']} tokens; dropped: none"
    assert said == f"preference: {told}" and counts["by_source"] == {"nano world": 24}
    metrics = [json.loads(line) for line in (tmp_path / "out/metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in metrics] == list(range(1, 13))
    assert metrics[0]["rewards/margins"] == pytest.approx(0, abs=1e-4)  # the reference is the starting model
    assert sum(row["rewards/margins"] for row in metrics[-4:]) > 0.8
    assert {"loss", "loss/preference", "loss/sft", "log_ratio/chosen", "kl/replay"} <= metrics[-1].keys()
    assert metrics[0]["kl/replay"] == 0 != metrics[-1]["kl/replay"]  # read after the first step, at learning rate 0
    assert metrics[-1]["num_tokens"] == 4 * counts["tokens"]
    assert len(read_jsonl(tmp_path / "out/pairs.jsonl", Preference)) == 24
    checkpoints = {path.name for path in (tmp_path / "out/checkpoints").glob("checkpoint-*")}
    assert checkpoints == {"checkpoint-4", "checkpoint-8", "checkpoint-12"}
    final, same = (
        load_file(tmp_path / "out" / name / "model.safetensors") for name in ("model", "checkpoints/checkpoint-12")
    )
    assert all(torch.equal(final[name], same[name]) for name in final)
    assert not (tmp_path / "out/model/optimizer.pt").exists() and not (tmp_path / "out/reference.json").exists()
    assert stage_for(PreferenceConfig(**TINY | settings), tmp_path / "out", tiny, corpus).is_current()


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
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("killed", "whole")
    ]
    assert rows[0] == rows[1] and len(rows[0]) == 6 and "kl/replay" in rows[0][0]


def test_a_start_with_weights_that_are_not_finite_is_refused(tiny: Path, corpus: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    load_tokenizer(tiny).save_pretrained(broken)
    (broken / "config.json").write_bytes((tiny / "config.json").read_bytes())
    weights = load_file(tiny / "model.safetensors")
    weights["model.norm.weight"][0] = float("nan")
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(EngineError, match=r"no finite log-probability to 54 of 54 texts.*another checkpoint"):
        run(tmp_path / "out", broken, corpus)
    assert not (tmp_path / "out/manifest.json").exists()


def test_lora_gives_ordinary_checkpoints_and_the_frozen_base_is_the_reference(
    tiny: Path, corpus: Path, tmp_path: Path
) -> None:
    lora = LoraSettings(rank=2, target="up_proj")
    run(tmp_path / "out", tiny, corpus, lora=lora, sft_weight=0.0, learning_rate=3e-2)
    metrics = [json.loads(line) for line in (tmp_path / "out/metrics.jsonl").read_text().splitlines()]
    assert metrics[0]["rewards/margins"] == pytest.approx(0, abs=1e-4) and metrics[-1]["rewards/margins"] > 0.02
    base, final = (load_file(path / "model.safetensors") for path in (tiny, tmp_path / "out/model"))
    changed = {name for name in base if not torch.equal(base[name], final[name])}
    assert changed == {f"model.layers.{layer}.mlp.up_proj.weight" for layer in (0, 1)}


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
    with pytest.raises(UsageError, match=r"batch_size 8 cannot be shared by 1 process\(es\) in passes of 3"):
        run(tmp_path / "out", tiny, corpus, micro_batch_size=3)


def test_steps_count_the_last_smaller_batch() -> None:
    config = PreferenceConfig(batch_size=32, num_epochs=2.0)
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
    assert "name one with --judge" in fails(f"hf:{tiny}", *at, "--set", 'preference.sources=["own"]')
    assert "allow_benchmarks" in fails(f"hf:{tiny}", *at, "--set", 'preference.sources=["jade"]')
