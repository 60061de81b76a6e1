"""Long sequences: what the backward pass needs of a layer is computed again, and what that needs may wait on the host.

With recomputation a layer keeps its input only; with offload that input lies in host memory until its backward pass. A
7B model then keeps 2 x 3,584 bytes per token and layer on the host: 3.1 GiB for a row of 16,384 tokens, none of it on
the device but the layer at work.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import nn
from torch.autograd.graph import save_on_cpu
from torch.utils.checkpoint import checkpoint

from safekeel.train.launch.memory import Activations


def save_activations(layers: nn.ModuleList, how: Activations, pin_memory: bool) -> None:
    """Wrap the layers' forward methods in place; parameter names stay as they are, so that checkpoints do.

    Args:
        how: `keep` everything, `recompute` each layer in the backward pass, or also `offload` the layers' inputs.
        pin_memory: copy from page-locked host memory, which an accelerator reads while it computes.
    """
    if how == "keep":
        return
    for layer in layers:
        layer.forward = _Saved(layer.forward, how == "offload", pin_memory)


class _Saved:
    """A layer's forward pass under recomputation."""

    def __init__(self, forward: Any, offload: bool, pin_memory: bool) -> None:
        self.forward, self.offload, self.pin_memory = forward, offload, pin_memory

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with self._where():
            return checkpoint(self.forward, *args, use_reentrant=False, **kwargs)

    def _where(self) -> AbstractContextManager[Any]:
        return save_on_cpu(pin_memory=self.pin_memory) if self.offload else nullcontext()
