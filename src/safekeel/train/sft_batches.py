"""What the trainer is fed: planned and packed (the default), or padded, samples of like length together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from datasets import Dataset

from safekeel.errors import ConfigError
from safekeel.train.packing import Document, RowCollator, micro_batches, plan_steps
from safekeel.train.sft_data import as_dataset
from safekeel.train.sft_trainer import PaddedCollator

if TYPE_CHECKING:
    from safekeel.train.sft import SftConfig


class Batches(NamedTuple):
    dataset: Dataset
    collator: Any
    """None = TRL's own."""
    arguments: dict[str, Any]
    """Of TRL's configuration: how the dataset is walked through."""


def batches(
    config: SftConfig,
    documents: Sequence[Document],
    tokenizer: Any,
    model: Any,
    total_steps: int,
    one_row: bool = False,
) -> Batches:
    """Dataset, collator and batch arguments of a configuration.

    Args:
        one_row: packing puts all documents of a pass into one row (attention that skips what a mask hides).

    Raises:
        ConfigError: the batch cannot be shared out as asked.
    """
    if config.packing:
        return _planned(config, documents, _pad_id(tokenizer, model), total_steps, one_row)
    per_pass, passes = share_of(config)
    given = {
        "per_device_train_batch_size": per_pass,
        "gradient_accumulation_steps": passes,
    }
    dataset = as_dataset(documents)
    if not {"weights", "anchored"} & set(dataset.column_names):
        return Batches(dataset, None, given)
    collator = PaddedCollator(pad_token_id=_pad_id(tokenizer, model))
    return Batches(dataset, collator, given | {"remove_unused_columns": False})


def world_size() -> int:
    """Processes that train together (torchrun sets it)."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def share_of(config: SftConfig) -> tuple[int, int]:
    """(samples of one forward pass, passes per step) of one process, without packing.

    Raises:
        ConfigError: the batch does not divide.
    """
    share, rest = divmod(config.batch_size, world_size())
    micro = config.pass_samples(share)
    if rest or not share or share % micro:
        raise ConfigError(
            f"sft.batch_size {config.batch_size} cannot be shared by {world_size()} process(es) in passes of "
            f"{micro or 1} sample(s); make it a multiple of {world_size() * (config.micro_batch_size or 1)}."
        )
    return micro, share // micro


def _planned(config: SftConfig, documents: Sequence[Document], pad_id: int, total_steps: int, one_row: bool) -> Batches:
    lengths = [len(document.input_ids) for document in documents]
    steps = plan_steps(len(documents), config.batch_size, total_steps, config.seed)
    groups, passes = micro_batches(steps, lengths, config.pass_tokens(), world_size())
    given = {
        "per_device_train_batch_size": 1,  # one row of the plan
        "gradient_accumulation_steps": passes,
        "train_sampling_strategy": "sequential",
        "remove_unused_columns": False,
        "dataset_kwargs": {"skip_prepare_dataset": True},
    }
    return Batches(Dataset.from_dict({"samples": groups}), RowCollator(documents, pad_id, one_row), given)


def _pad_id(tokenizer: Any, model: Any) -> int:
    """The padding token, set in tokenizer and model as TRL does where it makes the collator itself."""
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    pad_id: int = tokenizer.pad_token_id
    model.config.get_text_config().pad_token_id = model.generation_config.pad_token_id = pad_id
    return pad_id
