"""Checkpoints of TRL's trainers that every later stage opens as ordinary models, LoRA merged in; written only where
there is room for them and all weights are finite.

Shared by supervised and preference training. What an interrupted run needs beside the weights (optimizer, schedule,
random state) is the Trainer's own.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from safekeel.errors import EngineError
from safekeel.train.disk import CONTINUE, no_space, require_room
from safekeel.train.lora import load_adapter, save_merged

if TYPE_CHECKING:
    from transformers import Trainer as _Trainer
else:
    _Trainer = object

BYTES_PER_WEIGHT = 4
"""Checkpoints are written in float32 and narrowed when training is over."""
BYTES_PER_TRAINED = 8
"""AdamW's two moments, float32."""


class SavesModels(_Trainer):
    """To be put before a trainer class of TRL's. `section` is the recipe's, for messages."""

    section: str
    has_adapter: bool
    """Whether the trained model is one of PEFT's."""

    def _plain(self) -> Any:
        """The transformers model, without wrappers and adapters around it."""
        model = self.accelerator.unwrap_model(self.model)
        return model.get_base_model() if self.has_adapter else model

    def checkpoint_bytes(self) -> int:
        """Size of one checkpoint while training, at most: weights and optimizer."""
        trained: int = sum(weight.numel() for weight in self._plain().parameters() if weight.requires_grad)
        weights: int = sum(weight.numel() for weight in self._plain().parameters())
        return BYTES_PER_WEIGHT * weights + BYTES_PER_TRAINED * trained

    def require_room_for_run(self, num_checkpoints: int) -> None:
        """Refuse to begin training whose checkpoints the disk cannot hold: all of them stay for selection.

        Raises:
            DataError: it cannot.
        """
        require_room(Path(str(self.args.output_dir)), num_checkpoints * self.checkpoint_bytes(), num_checkpoints)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """
        Raises:
            DataError: the disk has no room for it, or no longer has.
        """
        folder = Path(str(self.args.output_dir))
        require_room(folder, self.checkpoint_bytes())
        with no_space(folder, CONTINUE):
            super()._save_checkpoint(model, trial)

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """
        Raises:
            EngineError: a weight is not finite.
        """
        for name, weight in self._plain().named_parameters():
            if weight.requires_grad and not torch.isfinite(weight).all():
                raise EngineError(
                    f"{name} is not finite after step {self.state.global_step}; {self._stays()} Lower "
                    f"{self.section}.learning_rate."
                )
        if not self.has_adapter:
            super()._save(output_dir, state_dict)
            return
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        save_merged(self.accelerator.unwrap_model(self.model), folder)
        tokenizer: Any = self.processing_class
        tokenizer.save_pretrained(folder)

    def count_on(self, rows: list[dict[str, Any]]) -> None:
        """Go on counting tokens where the last row of `metrics.jsonl` stopped: TRL's count is in no checkpoint."""
        if rows:
            self._total_train_tokens = int(rows[-1].get("num_tokens", 0))

    def _stays(self) -> str:
        """What a failure leaves, in words."""
        kept = sorted(Path(str(self.args.output_dir)).glob("checkpoint-*/complete.json"))
        return "no checkpoint was written from it." + (f" {len(kept)} earlier one(s) are kept." if kept else "")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if self.has_adapter:
            load_adapter(model or self.model, Path(resume_from_checkpoint))
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
