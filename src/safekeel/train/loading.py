"""The model a stage starts from: whole, local, and in the number format and attention that training asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from safekeel.errors import EngineError


def load_model(folder: Path, dtype: str | torch.dtype, attention: str | None = None) -> Any:
    """A causal language model of transformers, on the CPU.

    Args:
        dtype: of the weights in memory, whatever they are stored as.
        attention: `attn_implementation`; None = the best that the architecture has.

    Raises:
        EngineError: it cannot be loaded, does not have that attention, or its files lack weights (which transformers
            would fill with random numbers).
    """
    from transformers import AutoModelForCausalLM

    options = {} if attention is None else {"attn_implementation": attention}
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            **options,
        )
    except Exception as error:  # what a damaged checkpoint raises depends on where it is damaged
        asked = "" if attention is None else f" with the attention {attention!r}, which may be left out"
        raise EngineError(
            f"{folder} cannot be loaded as a causal language model{asked} ({type(error).__name__}: "
            f"{_first_sentence(error)}); expected config.json and *.safetensors as `save_pretrained` writes them."
        ) from error
    model, found = loaded
    if missing := sorted(found["missing_keys"]):
        raise EngineError(
            f"{folder} lacks {len(missing)} weights of its architecture, such as {missing[0]!r}; its files are "
            "incomplete, or config.json is another model's. Copy it again."
        )
    return model


def _first_sentence(error: BaseException) -> str:
    """Of a message that may run over many lines."""
    lines = str(error).strip().splitlines() or [""]
    return lines[0].split(". ")[0].strip().rstrip(".:")
