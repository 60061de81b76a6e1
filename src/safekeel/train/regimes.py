"""Hyper-parameters of supervised fine-tuning per regime, each with its source. A recipe may set any of them anew."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

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
        5e-3, 2.0, 32, "linear", 0.0, "measured on the nano corpus: loss after 40 steps at 1e-3, 2e-3, 5e-3, 1e-2, 2e-2"
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


def with_regime(values: dict[str, Any]) -> dict[str, Any]:
    """A configuration's table with the regime's value for every hyper-parameter that it does not name."""
    way: Literal["full", "lora"] = "lora" if values.get("lora") is not None else "full"
    regime = REGIMES.get((values.get("regime", "nano"), way))
    if regime is None:  # an unknown name: the field's own check says so
        return values
    return {name: value for name, value in regime._asdict().items() if name != "source"} | values
