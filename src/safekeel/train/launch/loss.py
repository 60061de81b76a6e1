"""The model and its loss as one module, so that one forward pass gathers all the weights that the loss needs.

FSDP2 gathers a module's weights for its forward pass and for nothing else. Computed outside, the loss would find a head
in shards; here the head belongs to the root, which is gathered until the backward pass has used it.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from safekeel.train.text import IGNORED
from safekeel.train.token_loss import head_of, label_nll


class ModelWithLoss(nn.Module):
    """A causal language model whose forward pass gives the summed loss of the labelled tokens.

    The sum, not the mean, because the mean must be over the labelled tokens of every process together.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: Tensor, labels: Tensor, position_ids: Tensor, loss_weights: Tensor | None = None
    ) -> Tensor:
        """Sum of the negative log-likelihoods in nats, float32; each times its weight, where there are weights.

        Args:
            input_ids, labels, position_ids, loss_weights: [rows, length], as `packing.RowCollator` lays them.
        """
        hidden = self.model.base_model(
            input_ids=input_ids, position_ids=position_ids, attention_mask=None, use_cache=False
        ).last_hidden_state
        learned = labels[:, 1:] != IGNORED
        states, targets = hidden[:, :-1][learned], labels[:, 1:][learned]
        if targets.numel():
            losses = label_nll(states, head_of(self.model), targets)[0]
            return (losses if loss_weights is None else losses * loss_weights[:, 1:][learned]).sum()
        # A process without samples in this pass still runs the same collectives, forward and backward.
        return 0.0 * label_nll(hidden[:, 0], head_of(self.model), input_ids[:, 0])[0].sum()
