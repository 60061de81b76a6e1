"""Configuration of preference training (`[preference]` in a recipe)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from safekeel.config import StageConfig
from safekeel.train.lora import LoraSettings

SourceName = Literal["own", "corpus", "nano", "jade"]


class OwnAnswers(StageConfig):
    """How the model answers the prompts of the corpus for the source `own` (DeepSeek-R1's sampling)."""

    num_samples: int = Field(4, ge=1)
    temperature: float = Field(0.6, ge=0)
    """0 = greedy, which gives one answer whatever `num_samples` is."""
    top_p: float = Field(0.95, gt=0, le=1)
    max_tokens: int = Field(4096, ge=1)
    seed: int = Field(0, ge=0)


class PreferenceConfig(StageConfig):
    """Pairs and hyper-parameters. The defaults are the nano model's (docs/log.md, 2026-11-21).

    Measured there, and worth knowing before use: on a half-trained model preference training raises defence and lowers
    over-refusal, but supervised training on the same chosen texts does so too, and on a fully fine-tuned model it made
    both worse. Compare with a control of `beta = 1e-6, safety_margin = 0`, which leaves the supervised part alone.

    For real models: learning rate 1e-6 in full (TRL's default for DPO), `safety_margin` 10 (SafeDPO, 2505.20065,
    appendix B.1), `sft_weight` 1 (2404.19733). The margin drives only the pairs of risky prompts.
    """

    sources: tuple[SourceName, ...] = ()
    """Empty = what the corpus folder holds: `nano` for the nano world's, `corpus` for any other. `own` has MODEL answer
    every prompt first, and is the only source that holds what it does wrong now."""
    own_answers: OwnAnswers = OwnAnswers()
    files: tuple[str, ...] = ()
    """The user's own JSONL files of `Preference` rows, beside the sources."""
    max_rejected_per_prompt: int = Field(1, ge=1)
    """Rejected responses taken of one prompt, by `own` and `corpus`."""
    allow_benchmarks: tuple[str, ...] = ()
    """Benchmarks that may be trained on (`jade`); they measure nothing afterwards."""
    lora: LoraSettings | None = None
    """None = all weights are trained. Dropout of the adapters is off here, as TRL has it for DPO."""
    beta: float = Field(0.1, gt=0)
    """Weight of the distance to the reference (DPO, 2305.18290, section 6)."""
    safety_margin: float = Field(2.0, ge=0)
    """SafeDPO's Δ, in units of β·log-ratio; 0 = plain DPO on the relabelled pairs."""
    sft_weight: float = Field(5.0, ge=0)
    """Weight of the mean −log π per token of the chosen text; 0 = preference alone. The preference part weighs a whole
    text: with T tokens to a text, β·T holds both to about the same pull (5 at the nano's 50 tokens)."""
    learning_rate: float = Field(1e-4, gt=0)
    num_epochs: float = Field(1.0, gt=0)
    batch_size: int = Field(32, ge=1)
    """Pairs per optimizer step, over all processes."""
    micro_batch_size: int | None = Field(None, ge=1)
    """Pairs of one forward pass on one process. None = the process' whole share of the batch."""
    num_checkpoints: int = Field(2, ge=1)
    max_length: int = Field(512, ge=16)
    """Tokens of prompt and response; a pair with a longer side is left out whole, counted and shown."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of forward and backward pass, as in `sft`."""
    activation_checkpointing: Literal["auto", "on", "off"] = "auto"
    attention: str | None = None
    """`attn_implementation` of transformers, as in `sft`."""
    num_gauge_texts: int = Field(32, ge=0)
    """Replay answers of the corpus on which `kl/replay` is read; 0 = never."""
    seed: int = 0
