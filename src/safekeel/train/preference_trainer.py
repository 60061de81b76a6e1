"""TRL's DPOTrainer on our own token ids, with SafeDPO's margin and a supervised share.

    loss = mean over pairs of −log σ(β·h − m)  +  w · mean over chosen tokens of −log π
    h = (log π(chosen) − log π_ref(chosen)) − (log π(rejected) − log π_ref(rejected))
    m = Δ where only the rejected side is unsafe, else 0

First part: SafeDPO (arXiv 2505.20065, §3); with m = 0 it is DPO (2305.18290, equation 7). Second part: the likelihood
of the chosen text, which DPO alone lets fall (2404.19733 §2; TRL's `loss_type=["sigmoid", "sft"]`, with which this loss
agrees exactly where m = 0). Everything else is stock: reference log-probabilities, optimizer, checkpoints, resume.

Needs torch, transformers and trl.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from datasets import Dataset
from transformers import AutoModelForCausalLM
from trl import DPOConfig, DPOTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference

from safekeel.errors import EngineError, UsageError

if TYPE_CHECKING:
    from safekeel.train.preference import PreferenceConfig

REFERENCE_COLUMNS = ("ref_chosen_logps", "ref_rejected_logps")
_OWN_COLUMNS = ("margin", "length")


def preference_losses(
    chosen_ratio: torch.Tensor, rejected_ratio: torch.Tensor, margin: torch.Tensor, beta: float
) -> torch.Tensor:
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
        batch["margin"] = torch.tensor([example["margin"] for example in examples], dtype=torch.float32)
        return batch


class SafeDpoTrainer(DPOTrainer):
    """See the module. Rows: `prompt_ids, chosen_ids, rejected_ids, margin, length`, and the reference's
    log-probabilities where they are known already."""

    def __init__(self, *args: Any, sft_weight: float = 0.0, **kwargs: Any) -> None:
        self.sft_weight = sft_weight
        super().__init__(*args, **kwargs)

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        """TRL would render the chat template here, which deletes the reasoning of R1-style targets."""
        return dataset

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        names: list[str] = self._signature_columns  # type: ignore[assignment]  # transformers says None, TRL fills it
        names += [name for name in _OWN_COLUMNS if name not in names]

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        """Of a resumed run they are read from the stage's folder instead."""
        if set(REFERENCE_COLUMNS) <= set(dataset.column_names):
            return dataset
        return super()._precompute_ref_logps(dataset, name, batch_size)

    def compute_ref_log_probs(self, model: Any, inputs: dict[str, Any]) -> Any:
        return super().compute_ref_log_probs(model, {key: inputs[key] for key in inputs if key != "margin"})

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss of one batch, a scalar with gradient.

        Raises:
            EngineError: it is not finite; nothing was updated with it.
        """
        mask = inputs["completion_mask"]
        labels = inputs["input_ids"].masked_fill(mask == 0, -100)
        extra = {"output_router_logits": True} if self.aux_loss_enabled else {}
        outputs = model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            labels=labels,
            use_cache=False,
            fused_lm_head=True,  # log-probabilities in chunks: the logits of a long reasoning never exist whole
            **extra,
        )
        chosen, rejected = outputs.log_probs.sum(dim=1).chunk(2)
        chosen_ratio, rejected_ratio = chosen - inputs[REFERENCE_COLUMNS[0]], rejected - inputs[REFERENCE_COLUMNS[1]]
        losses = preference_losses(chosen_ratio, rejected_ratio, inputs["margin"], self.beta)
        chosen_tokens = mask[..., 1:].chunk(2)[0].sum(dim=1)
        sft = -chosen.sum() / chosen_tokens.sum()
        loss = losses.mean() + self.sft_weight * sft
        if self.aux_loss_enabled:
            loss = loss + self.router_aux_loss_coef * outputs.aux_loss
        self._require_finite(loss)
        self._note(losses, chosen_ratio, rejected_ratio, chosen_tokens, sft, inputs)
        return (loss, outputs) if return_outputs else loss

    def _require_finite(self, loss: torch.Tensor) -> None:
        if not bool(torch.isfinite(loss.detach())):
            raise EngineError(
                f"The loss of step {self.state.global_step + 1} is {loss.item()}, expected a finite number: training "
                "stopped before it reached the weights. Lower preference.learning_rate or preference.beta, look for "
                "weights that are not finite in MODEL, or train in float32; the last checkpoint is intact."
            )

    def _note(
        self,
        losses: torch.Tensor,
        chosen_ratio: torch.Tensor,
        rejected_ratio: torch.Tensor,
        chosen_tokens: torch.Tensor,
        sft: torch.Tensor,
        inputs: dict[str, Any],
    ) -> None:
        """Figures for `metrics.jsonl`; TRL averages them between two log rows. Names as TRL's where the meaning is.

        `kl/chosen` is log π/π_ref per token of the chosen text: an estimate of KL(π‖π_ref) there as far as π has come
        to write the chosen texts; `kl/rejected` (its negative, on the target's own former answers) one of KL(π_ref‖π).
        """
        rejected_tokens = inputs["completion_mask"][..., 1:].chunk(2)[1].sum(dim=1)
        scores = self.beta * (chosen_ratio - rejected_ratio)
        figures = {
            "rewards/chosen": self.beta * chosen_ratio,
            "rewards/rejected": self.beta * rejected_ratio,
            "rewards/margins": scores,
            "rewards/accuracies": (scores > 0).float(),
            "margin_met": (scores >= inputs["margin"]).float(),
            "loss/preference": losses,
            "loss/sft": sft.expand_as(losses),
            "kl/chosen": chosen_ratio / chosen_tokens,
            "kl/rejected": -rejected_ratio / rejected_tokens,
        }
        mode = "train" if losses.requires_grad else "eval"
        for name, values in figures.items():
            self._metrics[mode][name].append(self.accelerator.gather(values.detach()).mean().item())
        tokens = self.accelerator.gather(inputs["attention_mask"].sum()).sum().item()
        self._total_train_tokens += int(tokens) if mode == "train" else 0
        self._metrics[mode]["num_tokens"] = [self._total_train_tokens]


def open_trainer(
    config: PreferenceConfig, model_dir: Path, tokenizer: Any, rows: list[dict[str, Any]], steps: int, folder: Path
) -> tuple[SafeDpoTrainer, dict[str, list[float]]]:
    """The trainer, and the reference's log-probabilities of its rows by column (computed where `rows` lack them).

    Raises:
        UsageError: the micro-batch does not divide the batch.
    """
    micro = min(config.micro_batch_size, config.batch_size)
    if config.batch_size % micro:
        raise UsageError(
            f"preference.batch_size {config.batch_size} is no multiple of preference.micro_batch_size {micro}; "
            "choose a divisor."
        )
    on_cpu = not torch.accelerator.is_available()
    args = DPOConfig(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=config.batch_size // micro,
        learning_rate=config.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=min(10, steps // 10),
        weight_decay=0.0,
        optim="adamw_torch_fused",
        train_sampling_strategy="group_by_length",
        beta=config.beta,
        precompute_ref_log_probs=True,
        max_length=None,
        bf16=not on_cpu,
        gradient_checkpointing=config.gradient_checkpointing,
        save_strategy="steps",
        save_steps=-(-steps // config.num_checkpoints),
        logging_steps=1,
        seed=config.seed,
        report_to="none",
        disable_tqdm=True,
        use_cpu=on_cpu,
    )
    with _without_bar():
        trainer = SafeDpoTrainer(
            model=AutoModelForCausalLM.from_pretrained(model_dir, dtype="float32", use_safetensors=True),
            args=args,
            data_collator=MarginCollator(pad_token_id=_pad(tokenizer)),
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            sft_weight=config.sft_weight,
        )
    dataset: Any = trainer.train_dataset
    return trainer, {name: list(dataset[name]) for name in REFERENCE_COLUMNS}


def with_reference(rows: list[dict[str, Any]], reference: Any) -> list[dict[str, Any]]:
    """The rows with the log-probabilities that an earlier attempt computed; unchanged where there are none for them.

    They would be the same again; on a large model they are a forward pass over all pairs.
    """
    if not isinstance(reference, dict) or any(len(reference.get(name, ())) != len(rows) for name in REFERENCE_COLUMNS):
        return rows
    return [row | {name: reference[name][place] for name in REFERENCE_COLUMNS} for place, row in enumerate(rows)]


def _pad(tokenizer: Any) -> int:
    found: int | None = tokenizer.pad_token_id
    return tokenizer.eos_token_id if found is None else found  # never learnt and never attended to


@contextmanager
def _without_bar() -> Iterator[None]:
    """TRL shows a bar of its own over the reference pass and has no argument against it."""
    before = os.environ.get("TQDM_DISABLE")
    os.environ["TQDM_DISABLE"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["TQDM_DISABLE"]
        else:
            os.environ["TQDM_DISABLE"] = before
