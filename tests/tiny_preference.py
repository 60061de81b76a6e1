"""Shared by the tests of preference training: pairs of the nano world, and a model small enough for seconds."""

from __future__ import annotations

import random
from pathlib import Path

from safekeel.chat import load_tokenizer
from safekeel.corpus.nano_source import paired_requests, safety_samples
from safekeel.nano.model import shipped_checkpoint
from safekeel.nano.words import load_words
from safekeel.train.preference_sources import nano_pairs

SAMPLES = [
    sample.model_copy(update={"pair": sample.id.replace("counter/", "risky/") if sample.role == "counter" else None})
    for sample in safety_samples(paired_requests(load_words(), "sft", 12, 0.5, random.Random(0)))
]
PAIRS = nano_pairs(SAMPLES).pairs
TINY = {"batch_size": 8, "learning_rate": 1e-3, "num_epochs": 2.0, "num_checkpoints": 3}
"""24 pairs in batches of 8, two epochs: six steps, a checkpoint after every second."""


def save_tiny_model(folder: Path) -> None:
    """A random model with the nano tokenizer: as real as any to a trainer, and ten times faster."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

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
