"""TRL's DPOTrainer on our own token ids, with SafeDPO's margin and a supervised share.

    loss = mean over pairs of −log σ(β·h − m)  +  w · mean over chosen tokens of −log π
    h = (log π(chosen) − log π_ref(chosen)) − (log π(rejected) − log π_ref(rejected))
    m = Δ where only the rejected side is unsafe, else 0

First part: SafeDPO (arXiv 2505.20065, equation 12); with m = 0 it is DPO (2305.18290, equation 7). Second part: the
likelihood of the chosen text, which DPO alone lets fall (2404.19733, section 2; TRL's `loss_type=["sigmoid", "sft"]`,
with which this loss agrees where m = 0). Optimizer, checkpoints and resume are stock.

Needs torch, transformers and trl.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from datasets import Dataset
from torch import Tensor
from trl import DPOTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference

from safekeel.errors import EngineError
from safekeel.train.epoch_sampler import EpochSampler, follow_epochs
from safekeel.train.saving import SavesModels
from safekeel.train.token_loss import head_of, label_nll

REFERENCE_COLUMNS = ("ref_chosen_logps", "ref_rejected_logps")
_OWN_COLUMNS = ("margin", "length")


def preference_losses(chosen_ratio: Tensor, rejected_ratio: Tensor, margin: Tensor, beta: float) -> Tensor:
    """−log σ(β·(chosen_ratio − rejected_ratio) − margin), one value per pair.

    Args:
        chosen_ratio, rejected_ratio: log π − log π_ref of the whole completion, in nats, shape (pairs,).
        margin: Δ per pair, shape (pairs,).
    """
    return -F.logsigmoid(beta * (chosen_ratio - rejected_ratio) - margin)


@dataclass
class MarginCollator(DataCollatorForPreference):
    """TRL's collator; the margins travel with their pairs. Nothing is ever cut: `max_length` stays None."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch: dict[str, Any] = super().torch_call(examples)
        if "margin" in examples[0]:
            batch["margin"] = torch.tensor([example["margin"] for example in examples], dtype=torch.float32)
        return batch


class SafeDpoTrainer(SavesModels, DPOTrainer):
    """See the module.

    Rows: `prompt_ids, chosen_ids, rejected_ids, margin, length`, and the reference's log-probabilities where they are
    known already. The reference is the model as it is when the trainer is made; it is never held in memory beside the
    trained one.
    """

    section = "preference"
    sft_weight: float = 0.0

    def __init__(self, **arguments: Any) -> None:
        self.has_adapter, self._hidden = arguments.get("peft_config") is not None, None
        super().__init__(**arguments)

    # -- data --------------------------------------------------------------------------------------------------------

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        """TRL would render the chat template here, which deletes the reasoning of R1-style targets."""
        return dataset

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        names: list[str] = self._signature_columns  # type: ignore[assignment]  # transformers says None, TRL fills it
        names += [name for name in _OWN_COLUMNS if name not in names]

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochSampler:
        dataset: Any = train_dataset if train_dataset is not None else self.train_dataset
        return follow_epochs(self, list(dataset["length"]))

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        """Of a resumed run they are read from the stage's folder instead."""
        if set(REFERENCE_COLUMNS) <= set(dataset.column_names):
            return dataset
        return super()._precompute_ref_logps(dataset, name, batch_size)

    def compute_ref_log_probs(self, model: Any, inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """(chosen, rejected) log π_ref of a padded batch, each of shape (pairs,). Adapters are off meanwhile."""
        off = self.accelerator.unwrap_model(self.model).disable_adapter() if self.has_adapter else nullcontext()
        with torch.no_grad(), off, self.accelerator.autocast():
            chosen, rejected = self.completion_log_probs(model, inputs)[0].chunk(2)
        return chosen, rejected

    # -- loss --------------------------------------------------------------------------------------------------------

    def completion_log_probs(self, model: Any, inputs: dict[str, Any]) -> tuple[Tensor, Any]:
        """log π of each completion of a padded batch, in nats, shape (rows,); and the model's output.

        Logits exist at completion tokens only, and a piece at a time: of a long reasoning they would not fit whole. On
        accelerators TRL's fused head makes them; off Triton it scores every position (measured on the nano model: 2.7 s
        against 1.1 s of CPU for 64 texts, forward and backward).
        """
        mask = inputs["completion_mask"][:, 1:].bool()
        given = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        if self.aux_loss_enabled:
            given["output_router_logits"] = True
        if self.args.device.type != "cpu":
            labels = inputs["input_ids"].masked_fill(inputs["completion_mask"] == 0, -100)
            outputs = model(**given, labels=labels, use_cache=False, fused_lm_head=True)
            return outputs.log_probs.sum(dim=1), outputs
        plain = self._plain()
        hook = plain.base_model.register_forward_hook(self._remember)
        outputs = model(**given, use_cache=False, logits_to_keep=1)  # through the wrapper, so that DDP sees the pass
        hook.remove()
        hidden, self._hidden = self._hidden, None
        assert hidden is not None, "the forward pass did not go through the model's backbone"
        nll, _ = label_nll(hidden[:, :-1][mask], head_of(plain), inputs["input_ids"][:, 1:][mask])
        return nll.new_zeros(mask.shape).masked_scatter(mask, -nll).sum(dim=1), outputs

    def _remember(self, module: Any, arguments: Any, output: Any) -> None:
        self._hidden = output.last_hidden_state

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss of one batch, a scalar with gradient.

        Raises:
            EngineError: it is not finite; nothing was updated with it.
        """
        log_probs, outputs = self.completion_log_probs(model, inputs)
        chosen, rejected = log_probs.chunk(2)
        chosen_ratio, rejected_ratio = chosen - inputs[REFERENCE_COLUMNS[0]], rejected - inputs[REFERENCE_COLUMNS[1]]
        losses = preference_losses(chosen_ratio, rejected_ratio, inputs["margin"], self.beta)
        tokens = inputs["completion_mask"][:, 1:].sum(dim=1).chunk(2)
        sft = -chosen.sum() / tokens[0].sum()
        loss = losses.mean() + self.sft_weight * sft
        if self.aux_loss_enabled:
            loss = loss + self.router_aux_loss_coef * outputs.aux_loss
        if not bool(torch.isfinite(loss.detach())):
            raise EngineError(
                f"The loss of step {self.state.global_step + 1} is {loss.item()}, expected a finite number; training "
                "stopped before it reached the weights, and earlier checkpoints are kept. Lower "
                "preference.learning_rate, or look for a damaged model or pair."
            )
        self._note(losses, (chosen_ratio, rejected_ratio), tokens, sft, inputs)
        return (loss, outputs) if return_outputs else loss

    def _note(
        self,
        losses: Tensor,
        ratios: tuple[Tensor, Tensor],
        tokens: Sequence[Tensor],
        sft: Tensor,
        inputs: dict[str, Any],
    ) -> None:
        """Figures for `metrics.jsonl`, averaged between two log rows. Names as TRL's where the meaning is."""
        rewards = [self.beta * ratio for ratio in ratios]
        scores = rewards[0] - rewards[1]
        figures = {
            "rewards/chosen": rewards[0],
            "rewards/rejected": rewards[1],
            "rewards/margins": scores,
            "rewards/accuracies": (scores > 0).float(),
            "loss/preference": losses,
            "loss/sft": sft.expand_as(losses),
            "log_ratio/chosen": ratios[0] / tokens[0],
            "log_ratio/rejected": ratios[1] / tokens[1],
        }
        mode = "train" if losses.requires_grad else "eval"
        for name, values in figures.items():
            self._metrics[mode][name].append(self.accelerator.gather(values.detach()).mean().item())
        if mode == "train":
            self._total_train_tokens += int(self.accelerator.gather(inputs["attention_mask"].sum()).sum())
        self._metrics[mode]["num_tokens"] = [self._total_train_tokens]
