"""The model with its loss, so that one module is sharded and the logits of a whole row never exist.

Logits of a 16k row over Qwen's 151,936 words are 9.3 GiB in float32, and cross-entropy holds them three times over:
more than all the layers' inputs. Here they are made for `PIECE` labelled positions at a time and made again in the
backward pass (as Liger-Kernel and TRL's own loss do, in other cuts).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

IGNORED = -100
PIECE = 1024
"""Positions whose logits exist at a time: 0.6 GiB at 151,936 words in float32."""


class ModelWithLoss(nn.Module):
    """A causal language model whose forward pass gives the summed loss of the labelled tokens.

    The sum, not the mean, because the mean must be over the labelled tokens of every process together.
    """

    def __init__(self, model: Any, piece: int = PIECE) -> None:
        super().__init__()
        self.model = model
        self.piece = piece

    def forward(self, input_ids: Tensor, labels: Tensor, position_ids: Tensor) -> Tensor:
        """Sum of the negative log-likelihoods, float32.

        Args:
            input_ids: [rows, length].
            labels: [rows, length], `IGNORED` where nothing is learned; position i is learned from position i - 1.
            position_ids: [rows, length], starting at 0 with each document: attention stays inside a document.
        """
        hidden = self.model.base_model(
            input_ids=input_ids, position_ids=position_ids, attention_mask=None, use_cache=False
        ).last_hidden_state
        shifted = labels[:, 1:]
        learned = shifted != IGNORED
        if not learned.any():  # padding of a process that has less to do: every process must run the same collectives
            return 0.0 * self._piece(hidden[:, 0], input_ids[:, 0])
        states, targets = hidden[:, :-1][learned], shifted[learned]
        pieces = zip(states.split(self.piece), targets.split(self.piece), strict=True)
        return torch.stack([checkpoint(self._piece, *piece, use_reentrant=False) for piece in pieces]).sum()

    def _piece(self, hidden: Tensor, targets: Tensor) -> Tensor:
        logits = self.model.get_output_embeddings()(hidden).float()
        return F.cross_entropy(logits, targets, reduction="sum")
