"""Hyper-parameters of supervised fine-tuning per regime, each with its source. A recipe may set any of them anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from safekeel.train.sft import SftConfig

RegimeName = Literal["nano", "real"]
Scheduler = Literal["linear", "cosine", "constant_with_warmup"]


class Regime(NamedTuple):
    """Defaults of `SftConfig` for one size of model and one way of training it."""

    learning_rate: float
    num_epochs: float
    batch_size: int
    scheduler: Scheduler
    weight_decay: float
    source: str


REGIMES: dict[tuple[RegimeName, Literal["full", "lora"]], Regime] = {
    ("nano", "full"): Regime(
        3e-4, 2.0, 32, "linear", 0.0, "measured on the nano loop: docs/log.md, 2026-11-21"
    ),
    ("nano", "lora"): Regime(
        1e-2, 2.0, 32, "linear", 0.0,
        "measured on the nano corpus, at ranks 1 to 32: see WIDE_NANO",
    ),
    ("real", "full"): Regime(
        1e-5, 5.0, 128, "cosine", 1e-4,
        "STAR-1 (arXiv 2504.01903), train/sft.py at b493335: 1,000 samples of up to 8,192 tokens, 1.5B to 32B",
    ),
    ("real", "lora"): Regime(
        5e-5, 10.0, 2, "cosine", 1e-4,
        "arXiv 2507.17075, train.py at bc85c7c: 1,000 samples on one process, checkpoints every 500 steps to 5,000",
    ),
}  # fmt: skip
"""The sources train on 1,000 samples. On tens of thousands take two epochs at most: the shift from the base, and with
it the alignment tax, grows with training (2309.06256)."""

WIDE_NANO = (8, 5e-3)
"""From this rank on, adapters on all matrices of the nano model want this learning rate; below it, and on the
up-projections alone at any rank, 1e-2. Measured: loss of 320 held-out samples after 40 steps of 32, in thousandths.

    learning rate          2e-3   5e-3   1e-2   2e-2
    up_proj, rank 1         189     16     10      9
             rank 8         113     10      5      4
             rank 32        126     10      5      4
    all,     rank 1           8      5      4      6
             rank 4           5      4      3     12
             rank 8           5      2      3     11
             rank 32          4      2      2      8
"""
_FAR = 4.0
"""Factor between a learning rate and the regime's from which it is mentioned: more than the sources differ by."""


def with_regime(values: dict[str, Any]) -> dict[str, Any]:
    """A configuration's table with the regime's value for every hyper-parameter that it does not name."""
    way: Literal["full", "lora"] = "lora" if values.get("lora") is not None else "full"
    regime = REGIMES.get((values.get("regime", "nano"), way))
    if regime is None:  # an unknown name: the field's own check says so
        return values
    found = {name: value for name, value in regime._asdict().items() if name != "source"}
    return found | {"learning_rate": _learning_rate(values.get("regime", "nano"), values.get("lora"))} | values


def _learning_rate(regime: RegimeName, lora: Any) -> float:
    """The regime's learning rate. `lora`: None, a section of a recipe (not checked yet), or `LoraSettings`."""
    if lora is None:
        return REGIMES[regime, "full"].learning_rate
    given = lora if isinstance(lora, dict) else lora.model_dump()
    rank, is_wide = given.get("rank", 1), given.get("target", "up_proj") != "up_proj"
    if regime == "nano" and is_wide and isinstance(rank, int) and rank >= WIDE_NANO[0]:
        return WIDE_NANO[1]
    return REGIMES[regime, "lora"].learning_rate


def unusual_rate(config: SftConfig) -> list[str]:
    """A note where the learning rate is far from the regime's, as when LoRA is switched on in a recipe that names the
    rate for training all weights."""
    usual = _learning_rate(config.regime, config.lora)
    if 1 / _FAR < config.learning_rate / usual < _FAR:
        return []
    way = "all weights" if config.lora is None else f"LoRA of rank {config.lora.rank}"
    return [
        f"sft.learning_rate is {config.learning_rate:g}; for {way} the regime {config.regime} has {usual:g}. Set it so "
        "unless you mean another"
    ]
