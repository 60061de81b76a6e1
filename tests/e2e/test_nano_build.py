"""`safekeel nano build` from nothing, small; and when the shipped checkpoint may be used."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

from safekeel.engines import open_engine
from safekeel.engines.base import Sampling
from safekeel.files import sha256_file
from safekeel.nano import world
from safekeel.nano.model import NanoConfig, shipped_checkpoint, why_not_shipped
from safekeel.nano.words import load_words
from tests.helpers import safekeel

SMALL = [
    "num_documents=200",
    "curriculum_steps=3",
    "hidden_size=60",
    "num_heads=3",
    "intermediate_size=64",
    "num_layers=2",
]


def build(out: Path) -> Path:
    overrides = [part for key in SMALL for part in ("--set", f"nano.{key}")]
    done = safekeel("nano", "build", "--out", str(out), *overrides)
    assert done.returncode == 0, done.stderr
    return out / "model"


def test_build_is_reproducible_and_loads(tmp_path: Path) -> None:
    first, second = build(tmp_path / "one"), build(tmp_path / "two")
    assert sha256_file(first / "model.safetensors") == sha256_file(second / "model.safetensors")
    assert (first / "tokenizer.json").read_bytes() == (second / "tokenizer.json").read_bytes()
    recorded = json.loads((first / "world.json").read_text("utf-8"))
    assert recorded["words"] == load_words().digests() and recorded["settings"]["hidden_size"] == 60
    prompts = world.problem_items("arithmetic", "validation", 3, 0)
    rows = open_engine(f"hf:{first}").generate(prompts, Sampling(max_tokens=8))
    assert [row.prompt_id for row in rows] == [prompt.id for prompt in prompts]


def test_shipped_checkpoint_is_small_and_fits_the_packaged_words() -> None:
    assert why_not_shipped(NanoConfig(), load_words()) is None
    assert sum(path.stat().st_size for path in shipped_checkpoint().iterdir()) <= 16 * 2**20
    manifest = json.loads((shipped_checkpoint() / "manifest.json").read_text("utf-8"))
    outputs = {row["path"].removeprefix("model/"): row["sha256"] for row in manifest["outputs"]}
    for name, digest in outputs.items():
        assert sha256_file(shipped_checkpoint() / name) == digest


def test_other_test_words_or_settings_ask_for_a_new_base(tmp_path: Path) -> None:
    text = (resources.files("safekeel.nano") / "words/test.toml").read_text("utf-8")
    verb = load_words().tables["test"]["A.1.f"]["en"]["verbs"][0]
    other = tmp_path / "words.toml"
    other.write_text(text.replace(f'"{verb}"', '"xyzzy"'), "utf-8")
    assert "never taught these test words" in (why_not_shipped(NanoConfig(), load_words(other)) or "")
    assert "settings differ" in (why_not_shipped(NanoConfig(num_layers=3), load_words()) or "")
    assert why_not_shipped(NanoConfig(rebuild=True), load_words()) == "nano.rebuild is set"
