"""Packing: the same loss and gradients as one document per row, and no document that sees another."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch", reason="needs the train extra")

import torch

from safekeel.chat import load_tokenizer
from safekeel.corpus.nano_source import paired_requests, safety_samples
from safekeel.errors import ConfigError, EngineError
from safekeel.nano.model import shipped_checkpoint
from safekeel.nano.words import load_words
from safekeel.train.packing import (
    Document,
    RowCollator,
    check_isolation,
    fill_rows,
    micro_batches,
    plan_steps,
    split_evenly,
)
from safekeel.train.sft import SftConfig, open_trainer
from safekeel.train.sft_data import prepare

SAMPLES = safety_samples(paired_requests(load_words(), "sft", 10, 0.5, random.Random(0)))
sizes = st.lists(st.integers(1, 30), min_size=1, max_size=40)


@given(sizes)
def test_every_document_lies_in_one_row_and_no_row_is_too_long(lengths: list[int]) -> None:
    rows = fill_rows(lengths, 30)
    assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
    assert all(sum(lengths[index] for index in row) <= 30 for row in rows)
    assert len(rows) <= 2 * -(-sum(lengths) // 30)  # two rows that are half empty would have been one


@given(st.integers(1, 50), st.integers(1, 12), st.integers(1, 20), st.integers(0, 3))
def test_an_epoch_of_the_plan_has_every_sample_once(num: int, batch: int, steps: int, seed: int) -> None:
    plan = plan_steps(num, batch, steps, seed)
    per_epoch = -(-num // batch)
    assert len(plan) == steps and plan == plan_steps(num, batch, steps, seed)
    for epoch in range(steps // per_epoch):
        seen = [sample for step in plan[epoch * per_epoch : (epoch + 1) * per_epoch] for sample in step]
        assert sorted(seen) == list(range(num))


@given(sizes, st.integers(1, 4), st.integers(1, 3))
def test_passes_of_a_step_hold_its_samples_within_the_limit(lengths: list[int], world: int, batches: int) -> None:
    steps = plan_steps(len(lengths), -(-len(lengths) // batches), batches, 0)
    groups, passes = micro_batches(steps, lengths, 35, world)
    assert len(groups) == len(steps) * passes * world
    for number, step in enumerate(steps):
        mine = groups[number * passes * world : (number + 1) * passes * world]
        assert sorted(sample for group in mine for sample in group) == sorted(step)
        assert all(sum(lengths[sample] for sample in group) <= 35 for group in mine)


def test_a_step_is_shared_out_evenly_and_an_impossible_limit_is_refused() -> None:
    assert split_evenly([0, 1, 2, 3], [9, 5, 4, 1], 2) == [[0, 3], [1, 2]]
    assert split_evenly([0], [3], 3) == [[0], [], []]
    with pytest.raises(ConfigError, match="one sample has 9 tokens"):
        micro_batches([[0, 1]], [9, 5], 8)


def test_rows_by_hand() -> None:
    documents = [
        Document([11, 12, 13], [-100, 12, 13], [1.0, 1.0, 4.0]),
        Document([21, 22], [21, 22], None, anchored=True),
    ]
    documents.append(Document([31, 32, 33, 34], [-100, -100, 33, 34]))
    batch = RowCollator(documents, pad_id=0)([{"samples": [0, 1, 2]}])
    assert batch["input_ids"].tolist() == [[31, 32, 33, 34], [11, 12, 13, 0], [21, 22, 0, 0]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3], [0, 1, 2, 0], [0, 1, 0, 1]]
    assert batch["labels"].tolist() == [[-100, -100, 33, 34], [-100, 12, 13, -100], [-100, 22, -100, -100]]
    assert batch["loss_weights"].tolist()[1] == [1.0, 1.0, 4.0, 1.0] and batch["num_tokens"].tolist() == [9]
    assert batch["anchored"].tolist() == [[False] * 4, [False] * 4, [True, True, False, False]]
    flat = RowCollator(documents, pad_id=0, one_row=True)([{"samples": [0, 1, 2]}])
    assert flat["position_ids"].tolist() == [[0, 1, 2, 0, 1, 0, 1, 2, 3]]
    assert flat["cu_seq_lens_q"].tolist() == [0, 3, 5, 9] and flat["max_length_q"] == 4
    empty = RowCollator(documents, pad_id=0)([{"samples": []}])
    assert empty["labels"].tolist() == [[-100, -100]] and empty["num_tokens"].tolist() == [0]


@pytest.fixture(scope="module")
def trainers(tmp_path_factory: pytest.TempPathFactory):
    """A packed and an unpacked trainer of one corpus, with everything that adds to the loss switched on."""
    tokenizer = load_tokenizer(shipped_checkpoint())
    documents = prepare(tokenizer, SAMPLES, 512, key_weight=3.0, anchored=True).documents
    documents = [d._replace(anchored=index % 3 == 0) for index, d in enumerate(documents)]
    found = {}
    for packing in (False, True):
        config = SftConfig(packing=packing, batch_size=8, anchor_weight=0.5, key_sentence_weight=3.0)
        folder = tmp_path_factory.mktemp("run")
        found[packing] = open_trainer(config, shipped_checkpoint(), tokenizer, documents, 2, folder)
        with torch.no_grad():  # away from the base, so that the KL is not zero
            found[packing].model.lm_head.weight.mul_(1.05)
    return found, documents


def gradients(trainer, batches: list[dict], count: int) -> tuple[float, dict]:
    trainer.model.zero_grad()
    total = 0.0
    for batch in batches:
        loss = trainer.compute_loss(trainer.model, dict(batch), num_items_in_batch=torch.tensor(count))
        loss.backward()
        total += loss.item()
    return total, {name: weight.grad.clone() for name, weight in trainer.model.named_parameters()}


@pytest.mark.parametrize("layout", ["rows", "one_row", "passes", "loss of TRL"])
def test_loss_and_gradients_are_those_of_one_document_per_row(trainers, layout: str) -> None:
    found, documents = trainers
    chosen = list(range(11))
    count = sum(label != -100 for index in chosen for label in documents[index].labels)
    rows = [
        {"input_ids": d.input_ids, "labels": d.labels, "weights": d.weights, "anchored": d.anchored}
        for d in (documents[index] for index in chosen)
    ]
    padded = gradients(found[False], [found[False].data_collator(rows)], count)
    collator = RowCollator(documents, pad_id=0, one_row=layout == "one_row")
    lengths = [len(document.input_ids) for document in documents]
    groups = split_evenly(chosen, lengths, 4) if layout == "passes" else [chosen]
    found[True].is_planned = layout != "loss of TRL"  # which accelerators use
    packed = gradients(found[True], [collator([{"samples": group}]) for group in groups], count)
    assert packed[0] == pytest.approx(padded[0], abs=1e-5)
    for name, gradient in padded[1].items():
        assert torch.allclose(packed[1][name], gradient, atol=1e-5, rtol=1e-5), name
    assert max(gradient.abs().max() for gradient in padded[1].values()) > 1e-2


def test_a_model_that_keeps_documents_apart_passes_and_one_that_does_not_is_refused() -> None:
    from transformers import AutoModelForCausalLM, MambaConfig, MambaForCausalLM

    check_isolation(AutoModelForCausalLM.from_pretrained(shipped_checkpoint(), dtype="float32"))
    torch.manual_seed(0)
    recurrent = MambaForCausalLM(
        MambaConfig(vocab_size=64, hidden_size=16, state_size=4, num_hidden_layers=2, initializer_range=0.5)
    )
    with pytest.raises(EngineError, match="does not keep packed documents apart"):
        check_isolation(recurrent)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(2, 12), min_size=1, max_size=9), st.booleans())
def test_nothing_is_lost_in_the_layout(lengths: list[int], one_row: bool) -> None:
    documents = [Document([100 * n + k for k in range(m)], [-100, *range(1, m)]) for n, m in enumerate(lengths, 1)]
    batch = RowCollator(documents, 0, one_row)([{"samples": list(range(len(documents)))}])
    tokens = [token for token in batch["input_ids"].flatten().tolist() if token]
    assert sorted(tokens) == sorted(token for document in documents for token in document.input_ids)
    starts = (batch["position_ids"] == 0) & (batch["input_ids"] != 0)
    assert sorted(batch["input_ids"][starts].tolist()) == [100 * n for n in range(1, len(lengths) + 1)]
