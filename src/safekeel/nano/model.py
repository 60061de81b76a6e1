"""Stage 00-base: the embedded base model, from the shipped checkpoint or built from nothing on CPU.

    safekeel nano build --out DIR          from nothing, about ten minutes on two cores
    safekeel run                           takes the shipped checkpoint if it was taught the words in use

The architecture is DeepSeek-R1-Distill-Qwen's (Qwen2) with the real chat template, at two million parameters. The base
knows the harm class of every word and complies with every request; making it safe is the job of the stages that follow.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import Field

from safekeel.artifact import Stage, atomic_write_json
from safekeel.config import StageConfig
from safekeel.errors import DataError
from safekeel.nano.words import Words, load_words
from safekeel.progress import Progress

STAGE, VERSION = "base", "1"
WORLD_FILE = "world.json"  # beside the weights: which words and which settings this checkpoint was built with


class NanoConfig(StageConfig):
    """What the embedded base model is and how it is built."""

    test_words: Path | None = None
    """A TOML word list that replaces the packaged test words; a base that was never taught them is built anew."""
    rebuild: bool = False
    """Build from nothing even though the shipped checkpoint fits."""
    hidden_size: int = Field(160, multiple_of=2, ge=32)
    num_layers: int = Field(4, ge=2)
    num_heads: int = Field(5, ge=3)
    intermediate_size: int = Field(480, ge=32)
    vocab_size: int = Field(4096, ge=512)
    num_documents: int = Field(90_000, ge=1)
    """Pretraining documents, each seen once."""
    curriculum_steps: int = Field(250, ge=0)
    """Steps of random-token copying and option look-up before the documents."""
    learning_rate: float = Field(2e-3, gt=0)
    build_seed: int = 0

    def architecture(self) -> dict:
        """The settings that decide what a build gives."""
        return self.model_dump(mode="json", exclude={"test_words", "rebuild"})


def shipped_checkpoint() -> Path:
    """The folder of the checkpoint that comes with the package."""
    return Path(str(resources.files("safekeel") / "nano/checkpoint"))


def why_not_shipped(config: NanoConfig, words: Words) -> str | None:
    """None when the shipped checkpoint is what this configuration asks for, else the reason in words."""
    if config.rebuild:
        return "nano.rebuild is set"
    try:
        world = json.loads((shipped_checkpoint() / WORLD_FILE).read_text("utf-8"))
    except FileNotFoundError:
        return "no checkpoint is shipped with this installation"
    if taught := [split for split, found in words.digests().items() if world["words"].get(split) != found]:
        return f"the shipped checkpoint was never taught these {', '.join(taught)} words"
    if world["settings"] != config.architecture():
        return "nano's settings differ from those of the shipped checkpoint"
    return None


def run(config: NanoConfig, stage: Stage, say: Callable[[str], None], progress: Progress) -> None:
    """Fill the stage folder with `model/` (an HF checkpoint) and the manifest."""
    words = load_words(config.test_words)
    stage.begin()
    target = stage.dir / "model"
    if reason := why_not_shipped(config, words):
        say(f"building the nano base from nothing ({reason}): about ten minutes on two cores")
        build(config, words, target, progress)
    else:
        shutil.copytree(shipped_checkpoint(), target, dirs_exist_ok=True)
    stage.finish([target], {"words": sum(len(list(_words(table))) for table in words.tables.values())})


def build_stage(config: NanoConfig, out: Path, command: str, say: Callable[[str], None], progress: Progress) -> None:
    """`safekeel nano build`: fill `out/` with a freshly built `model/` and its manifest."""
    identity = config.model_dump(mode="json") | {"words": load_words(config.test_words).digests()}
    stage = Stage(out, STAGE, VERSION, identity, [], config.build_seed, command)
    if stage.is_current():
        say(f"{out}: up to date, skipped")
        return
    run(config, stage, say, progress)


def _words(table: dict) -> Iterator[str]:
    for category in table.values():
        for roles in category.values():
            for found in roles.values():
                yield from found


def build(config: NanoConfig, words: Words, target: Path, progress: Progress) -> None:
    """Train tokenizer and model from nothing and save them as an HF folder (safetensors)."""
    from safekeel.nano.pretrain import curriculum, encode, train
    from safekeel.nano.pretraining import PretrainingWriter, tokenizer_texts
    from safekeel.nano.tokenizer import train_tokenizer

    progress("tokenizer", 0, 1, 0.0)
    seed = config.build_seed
    tokenizer = train_tokenizer(tokenizer_texts(words, 15_000, seed + 1), config.vocab_size)
    model = _new_model(config, tokenizer)
    if config.curriculum_steps:
        train(
            model,
            tokenizer,
            curriculum(tokenizer, 40 * config.curriculum_steps, seed + 2),
            learning_rate=config.learning_rate,
            seed=seed,
            decay=False,
            prompt_weight=0.0,
            max_steps=config.curriculum_steps,
            progress=lambda step, total, loss: progress("curriculum", step, total, loss),
        )
    writer = PretrainingWriter(words, seed + 3)
    summary = train(
        model,
        tokenizer,
        encode(tokenizer, [writer.document() for _ in range(config.num_documents)]),
        learning_rate=config.learning_rate,
        seed=seed + 4,
        progress=lambda step, total, loss: progress("pretraining", step, total, loss),
    )
    target.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    world = {
        "words": words.digests(),
        "settings": config.architecture(),
        "num_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "training": {"steps": summary.steps, "tokens": summary.tokens, "loss": round(summary.loss, 4)},
    }
    atomic_write_json(target / WORLD_FILE, world)


def _new_model(config: NanoConfig, tokenizer: Any) -> Any:
    """An untrained Qwen2 with structured initialisation.

    Raises:
        DataError: the hidden size is no multiple of the number of heads.
    """
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from safekeel.nano.structured_init import structured_init
    from safekeel.nano.tokenizer import MAX_LENGTH

    if config.hidden_size % config.num_heads:
        raise DataError(
            f"nano.hidden_size {config.hidden_size} must be a multiple of nano.num_heads {config.num_heads}."
        )
    torch.manual_seed(config.build_seed)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=config.num_layers,
            num_attention_heads=config.num_heads,
            num_key_value_heads=config.num_heads,
            max_position_embeddings=MAX_LENGTH,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    structured_init(model, config.build_seed)
    return model
