"""TRL's SFTTrainer with what SafeKeel adds: planned micro-batches, key-sentence weights, the KL anchor, merged LoRA
checkpoints, and a stop at the first loss or weight that is not finite.

With none of these switched on, every loss, gradient and random draw is the stock trainer's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from trl import SFTTrainer
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from safekeel.errors import EngineError
from safekeel.train.anchor import Anchor
from safekeel.train.epoch_sampler import follow_epochs
from safekeel.train.packing import RowCollator
from safekeel.train.saving import SavesModels
from safekeel.train.text import IGNORED
from safekeel.train.token_loss import head_of, label_nll


@dataclass
class PaddedCollator(DataCollatorForLanguageModeling):
    """TRL's collator, one sample per row; weights and anchor marks are padded beside the labels."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch: dict[str, Any] = super().torch_call(examples)
        shape = batch["labels"].shape
        if "weights" in examples[0]:
            batch["loss_weights"] = torch.ones(shape)
            for row, example in enumerate(examples):
                batch["loss_weights"][row, : len(example["weights"])] = torch.tensor(example["weights"])
        if "anchored" in examples[0]:
            marks = torch.tensor([example["anchored"] for example in examples])
            batch["anchored"] = marks[:, None].expand(shape).clone()
        return batch


class SafeSftTrainer(SavesModels, SFTTrainer):
    """
    Args:
        steps_per_epoch: given where batches come from `packing.RowCollator`, in the order they are to be trained; None
            = samples of like length together, in `EpochSampler`'s order.
    """

    section = "sft"
    anchor: Anchor | None = None
    """Set before training to hold marked samples to the base, with `anchor_weight`."""
    anchor_weight: float = 0.0

    def __init__(self, *, steps_per_epoch: int | None = None, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.is_planned, self.steps_per_epoch = steps_per_epoch is not None, steps_per_epoch or 1
        self.has_adapter = hasattr(self.model, "peft_config")
        self._hidden: Tensor | None = None
        if isinstance(self.data_collator, PaddedCollator | RowCollator):
            self._plain().base_model.register_forward_hook(self._remember)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if self.is_planned:
            return super()._get_train_sampler(train_dataset)
        dataset: Any = train_dataset if train_dataset is not None else self.train_dataset
        return follow_epochs(self, [len(ids) for ids in dataset["input_ids"]])

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """The plan holds all epochs as one, which the Trainer would show as such."""
        shown = self.state.epoch
        if self.is_planned and shown is not None:
            self.state.epoch = self.state.global_step / self.steps_per_epoch
        super().log(logs, start_time)
        self.state.epoch = shown

    def _remember(self, module: Any, arguments: Any, output: Any) -> None:
        """Keep the last hidden states of a pass for the losses that TRL's fused head does not give."""
        if torch.is_grad_enabled():
            self._hidden = output.last_hidden_state

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """TRL's loss plus the weighted key sentences and the anchor, each divided by the step's labelled tokens."""
        weights, anchored = inputs.pop("loss_weights", None), inputs.pop("anchored", None)
        anchored = None if self.anchor is None else anchored
        num_tokens, before = inputs.pop("num_tokens", None), self._total_train_tokens
        if self.is_planned and self.args.device.type == "cpu":
            loss = self._label_loss(model, inputs, num_items_in_batch)
        else:
            loss = super().compute_loss(model, inputs, num_items_in_batch=num_items_in_batch)
        if num_tokens is not None:  # TRL counts the positions of one row
            self._total_train_tokens = before + int(self.accelerator.gather(num_tokens).sum())
            self._metrics["train"]["num_tokens"] = [self._total_train_tokens]
        hidden, self._hidden = self._hidden, None
        if weights is None and anchored is None:
            return loss
        assert hidden is not None, "the forward pass did not go through the model's backbone"
        labels = inputs["labels"][:, 1:]
        learnt = labels != IGNORED
        extra = hidden.new_zeros((), dtype=torch.float32)
        with self.accelerator.autocast():  # which else ends with the forward pass
            if weights is not None:
                extra = extra + self._key_loss(hidden, labels, learnt, weights[:, 1:])
            if anchored is not None:
                extra = extra + self._anchor_loss(inputs, hidden, anchored[:, 1:] & learnt)
        return loss + extra / self._divisor(learnt, num_items_in_batch)

    def _divisor(self, learnt: Tensor, num_items: Any) -> Tensor:
        """What a sum over this pass is divided by so that DDP's mean over processes is the mean over all tokens."""
        if num_items is None:
            return learnt.sum().clamp(min=1)
        total = torch.as_tensor(num_items, device=learnt.device).clamp(min=1)
        return total / self.accelerator.num_processes if self.args.average_tokens_across_devices else total

    def _label_loss(self, model: Any, inputs: dict[str, Any], num_items: Any) -> Tensor:
        """The loss with logits at labelled positions only. Off Triton TRL's fused head scores every position, several
        times slower than this on CPU (`docs/log.md`)."""
        labels = inputs["labels"][:, 1:]
        learnt = labels != IGNORED
        given = {key: value for key, value in inputs.items() if key != "labels"}
        model(**given, use_cache=False, logits_to_keep=1)  # through the wrapper, so that DDP and FSDP see the pass
        hidden = self._hidden
        assert hidden is not None, "the forward pass did not go through the model's backbone"
        with self.accelerator.autocast():
            nll, right = label_nll(hidden[:, :-1][learnt], head_of(self._plain()), labels[learnt])
        self._log("mean_token_accuracy", right.float().sum(), learnt.sum())
        loss: Tensor = nll.sum() / self._divisor(learnt, num_items)
        return loss

    def _key_loss(self, hidden: Tensor, labels: Tensor, learnt: Tensor, weights: Tensor) -> Tensor:
        """Σ (w − 1) · −log π over the weighted tokens; the stock loss holds the rest."""
        key = learnt & (weights != 1.0)
        if not key.any():
            return hidden.new_zeros((), dtype=torch.float32)
        nll, _ = label_nll(hidden[:, :-1][key], head_of(self._plain()), labels[key])
        self._log("key_sentence_loss", nll.detach().sum(), key.sum())
        return ((weights[key] - 1.0) * nll).sum()

    def _anchor_loss(self, inputs: dict[str, Any], hidden: Tensor, anchored: Tensor) -> Tensor:
        assert self.anchor is not None
        divergence = self.anchor.divergence(self.accelerator.unwrap_model(self.model), inputs, hidden, anchored)
        if divergence.numel():
            self._log("kl_base", divergence.detach().sum(), anchored.sum())
        return self.anchor_weight * divergence.sum()

    def _log(self, name: str, total: Tensor, count: Tensor) -> None:
        """A mean over this process' tokens, for the next log row."""
        self._metrics["train"][name].append((total / count.clamp(min=1)).item())

    def training_step(self, *arguments: Any, **named: Any) -> Tensor:
        """
        Raises:
            EngineError: the loss is not finite; the weights are still those of the step before.
        """
        loss: Tensor = super().training_step(*arguments, **named)
        if not torch.isfinite(loss):
            raise EngineError(
                f"The loss is {loss.item()} at step {self.state.global_step + 1}; {self._stays()} Lower "
                "sft.learning_rate, or look for a damaged base or sample."
            )
        return loss
