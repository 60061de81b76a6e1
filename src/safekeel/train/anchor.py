"""The KL anchor: on capability rows the model is held to what the base would say, over the full vocabulary.

    loss = (Σ_labelled −log π(token) + β · Σ_anchored KL(π_base(·|context) ‖ π(·|context))) / number of labelled tokens

Anchored are the labelled tokens of samples of role `replay` and `general`. One nat of KL at one anchored token costs
as much as β nats of likelihood at one labelled token. Forgetting follows the KL from the base (RL's Razor, arXiv
2509.04259); the direction is that paper's, and the gradient that of learning the base's whole distribution instead of
one token of it. It costs one more forward pass over the rows that hold anchored tokens.

The base is a frozen copy, reloaded from disk (TRL patches `forward`, so a deep copy would run the trained weights), or,
with LoRA, the model itself with its adapters switched off.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from safekeel.errors import ConfigError
from safekeel.train.loading import load_model
from safekeel.train.token_loss import head_of, kl_to_base

_SCALED = ("final_logit_softcapping", "logit_scale", "logits_scaling", "output_multiplier", "lm_head_multiplier")
_ROWWISE = ("input_ids", "attention_mask", "position_ids")


class Anchor:
    """Gives the KL from the base at chosen positions of a batch."""

    def __init__(self, base: Any | None) -> None:
        """
        Args:
            base: the frozen copy; None = the trained model with its adapters off.
        """
        self.base = base

    def divergence(self, model: Any, inputs: dict[str, Any], hidden: Tensor, anchored: Tensor) -> Tensor:
        """KL(base ‖ model) in nats at the anchored positions, shape [positions]; empty where there are none.

        Args:
            model: the unwrapped model that is trained.
            inputs: of the batch, each [rows, length].
            hidden: the model's last hidden states, [rows, length, hidden].
            anchored: bool [rows, length − 1], true where the next token is anchored.
        """
        rows = anchored.any(dim=1)
        if not rows.any():
            return hidden.new_zeros(0)
        batch = {
            key: value[rows] if key in _ROWWISE else value
            for key, value in inputs.items()
            if key in _ROWWISE or key.startswith(("cu_seq_lens", "max_length"))
        }
        here = anchored[rows]
        with torch.no_grad(), self._as_base(model) as base:
            base_hidden = base.base_model(**batch, use_cache=False).last_hidden_state
            base_head = head_of(base)
        own = hidden[rows][:, :-1][here]
        return kl_to_base(own, head_of(_plain(model)), base_hidden[:, :-1][here], base_head)

    @contextmanager
    def _as_base(self, model: Any) -> Iterator[Any]:
        if self.base is not None:
            yield self.base
            return
        with model.disable_adapter():
            yield _plain(model)


def open_anchor(model_dir: Path, model: Any, has_adapter: bool, device: torch.device, dtype: torch.dtype) -> Anchor:
    """An anchor to the model in `model_dir`, which is what training starts from.

    Args:
        dtype: of the frozen copy, where one is needed.

    Raises:
        ConfigError: the architecture rescales its logits after the head, which this loss does not reproduce.
    """
    text_config = model.config.get_text_config()
    if found := [name for name in _SCALED if getattr(text_config, name, None) is not None]:
        raise ConfigError(
            f"sft.anchor_weight: {type(model).__name__} rescales its logits ({', '.join(found)}), which the KL anchor "
            "does not know; set it to 0."
        )
    if has_adapter:
        return Anchor(None)
    return Anchor(load_model(model_dir, dtype).eval().requires_grad_(False).to(device))


def _plain(model: Any) -> Any:
    """The transformers model inside a PEFT model."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
