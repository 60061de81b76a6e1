"""From samples to documents: token ids, labels, key-sentence weights; and what is too long, set apart and never cut."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from safekeel.chat import Tokenizer, training_text
from safekeel.corpus.sample import Role, Sample
from safekeel.errors import DataError
from safekeel.records import Name, Record, write_jsonl
from safekeel.taxonomy import load_taxonomy
from safekeel.train.key_sentence import key_sentence, token_weights
from safekeel.train.packing import Document
from safekeel.train.text import IGNORED, encode, labels

ANCHORED_ROLES = ("replay", "general")
"""Roles of samples that keep an ability rather than teach one (`anchor.py`)."""
TOO_LONG = "too_long.jsonl"
_NAMED = 3  # ids in a message


class TooLong(Record):
    """One row of `too_long.jsonl`."""

    id: Name
    role: Role
    num_tokens: int
    limit: int


class Prepared(NamedTuple):
    """The corpus as the trainer takes it."""

    documents: list[Document]
    too_long: list[TooLong]
    num_key_sentences: int = 0
    """Documents with a weighted key sentence."""

    @property
    def num_tokens(self) -> int:
        return sum(len(document.input_ids) for document in self.documents)

    @property
    def num_labelled(self) -> int:
        return sum(label != IGNORED for document in self.documents for label in document.labels)

    def counts(self, steps: int) -> dict[str, Any]:
        """For the manifest."""
        return {
            "in": len(self.documents) + len(self.too_long),
            "samples": len(self.documents),
            "dropped": {"too_long": len(self.too_long)},
            "steps": steps,
            "tokens": self.num_tokens,
            "labelled_tokens": self.num_labelled,
            "key_sentences": self.num_key_sentences,
        }


def prepare(
    tokenizer: Tokenizer, samples: Sequence[Sample], max_length: int, key_weight: float = 1.0, anchored: bool = False
) -> Prepared:
    """Documents of all samples that fit; the others are listed, whole or not at all.

    Args:
        key_weight: weight of the key sentence's tokens; 1 = no weights.
        anchored: mark the samples that are held to the base.

    Raises:
        DataError: no samples, or one that cannot be encoded (naming it).
    """
    if not samples:
        raise DataError("The corpus holds no samples to train on; build it with `safekeel corpus build`.")
    documents, too_long, num_keys = [], [], 0
    for sample in samples:
        try:
            encoded = encode(tokenizer, sample.prompt, sample.thought, sample.answer)
        except DataError as error:
            raise DataError(f"sample {sample.id}: {error}") from error
        ids = encoded.prompt_ids + encoded.completion_ids
        if len(ids) > max_length:
            too_long.append(TooLong(id=sample.id, role=sample.role, num_tokens=len(ids), limit=max_length))
            continue
        weights = None
        if key_weight != 1.0:
            weights = _weights(tokenizer, sample, len(encoded.prompt_ids), len(ids), key_weight)
            num_keys += any(weight != 1.0 for weight in weights)
        held = anchored and sample.role in ANCHORED_ROLES
        documents.append(Document(ids, labels(encoded), weights, held))
    return Prepared(documents, too_long, num_keys)


def _weights(tokenizer: Tokenizer, sample: Sample, num_prompt: int, length: int, weight: float) -> list[float]:
    span = key_sentence(sample, load_taxonomy())
    if span is None:
        return [1.0] * length
    _, written = training_text(tokenizer, sample.prompt.messages, sample.thought, sample.answer)
    return [1.0] * num_prompt + token_weights(tokenizer, written, span, weight)


def set_apart(prepared: Prepared, folder: Path, drop: bool) -> list[str]:
    """Write `too_long.jsonl`, and stop where too long samples are not to be dropped.

    Returns:
        Notes for the manifest.

    Raises:
        DataError: there are too long samples and `drop` is false, or nothing is left.
    """
    path = folder / TOO_LONG
    write_jsonl(path, prepared.too_long)
    if not prepared.too_long:
        return []
    first, longest = prepared.too_long[0], max(row.num_tokens for row in prepared.too_long)
    total = len(prepared.too_long) + len(prepared.documents)
    said = (
        f"{len(prepared.too_long)} of {total} samples are longer than max_length {first.limit} (the longest: {longest})"
    )
    if drop and not prepared.documents:
        raise DataError(f"{said}; nothing is left to train on. Raise sft.max_length.")
    if not drop:
        named = "; ".join(f"sample {row.id} has {row.num_tokens} tokens" for row in prepared.too_long[:_NAMED])
        raise DataError(
            f"{said}; they are listed in {path}: {named}. Raise sft.max_length, or leave them out with "
            "sft.too_long=drop; none is ever cut."
        )
    return [f"{said}; left out, see {TOO_LONG}"]


def as_dataset(documents: Sequence[Document]) -> Any:
    """A `datasets.Dataset` with one sample per row: `input_ids`, `labels`, and `weights` and `anchored` where used."""
    from datasets import Dataset

    rows: list[dict[str, Any]] = []
    for document in documents:
        row: dict[str, Any] = {"input_ids": document.input_ids, "labels": document.labels}
        if document.weights is not None:
            row["weights"] = document.weights
        rows.append(row)
    if any(document.anchored for document in documents):
        for row, document in zip(rows, documents, strict=True):
            row["anchored"] = document.anchored
    return Dataset.from_list(rows)
