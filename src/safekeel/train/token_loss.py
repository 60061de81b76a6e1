"""Losses on chosen positions of a row, with the vocabulary's logits made only there and only for a piece at a time.

Prompt and padding have no label, so their logits are never needed: on the nano corpus that is 42% of all positions. A
piece is made again in the backward pass once the logits of all positions would not fit `MOST_LOGITS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

MOST_LOGITS = 2**26
"""Logits that may live at a time (256 MiB in float32): 16k labelled positions of the nano vocabulary, 441 of Qwen's."""


def head_of(model: Any) -> tuple[Tensor, Tensor | None]:
    """Weight [vocabulary, hidden] and bias of the language-model head; gathered where FSDP2 has sharded it."""
    head = model.get_output_embeddings()
    weight, bias = head.weight, getattr(head, "bias", None)
    if hasattr(weight, "full_tensor"):
        weight = weight.full_tensor()
        bias = bias.full_tensor() if bias is not None else None
    return weight, bias


def label_nll(hidden: Tensor, head: tuple[Tensor, Tensor | None], labels: Tensor) -> tuple[Tensor, Tensor]:
    """(−log π(label) in nats, whether the label is the most likely token); both of shape [positions].

    Args:
        hidden: last hidden states, [positions, hidden].
        labels: the token each position shall predict, [positions].
    """

    def piece(states: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        logits = F.linear(states, *head).float()
        return F.cross_entropy(logits, targets, reduction="none"), logits.detach().argmax(-1) == targets

    parts = _in_pieces(piece, hidden, labels, vocabulary=head[0].size(0))
    return torch.cat([nll for nll, _ in parts]), torch.cat([right for _, right in parts])


def kl_to_base(
    hidden: Tensor, head: tuple[Tensor, Tensor | None], base_hidden: Tensor, base_head: tuple[Tensor, Tensor | None]
) -> Tensor:
    """KL(base ‖ model) over the full vocabulary in nats, one value per position, with gradient to `hidden` and `head`.

    Args:
        hidden, base_hidden: last hidden states of model and base at the same positions, [positions, hidden].
    """

    def piece(states: Tensor, base_states: Tensor) -> Tensor:
        log_p = F.log_softmax(F.linear(states, *head).float(), dim=-1)
        with torch.no_grad():
            log_base = F.log_softmax(F.linear(base_states, *base_head).float(), dim=-1)
        return F.kl_div(log_p, log_base, reduction="none", log_target=True).sum(-1)

    return torch.cat(_in_pieces(piece, hidden, base_hidden, vocabulary=2 * head[0].size(0)))


def _in_pieces(piece: Callable[..., Any], *tensors: Tensor, vocabulary: int) -> list[Any]:
    size = max(1, MOST_LOGITS // vocabulary)
    pieces = list(zip(*(tensor.split(size) for tensor in tensors), strict=True))
    if len(pieces) == 1:
        return [piece(*pieces[0])]
    return [checkpoint(piece, *parts, use_reentrant=False) for parts in pieces]
