"""The preference trainer: the loss is SafeDPO's, the reference is the starting model, an epoch's order is fixed."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the train extra")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from safekeel.chat import load_tokenizer
from safekeel.errors import EngineError
from safekeel.train.epoch_sampler import EpochSampler
from safekeel.train.preference import PreferenceConfig
from safekeel.train.preference_data import relabel, tokenise
from safekeel.train.preference_setup import open_trainer, with_reference
from safekeel.train.preference_trainer import MarginCollator, preference_losses
from tests.tiny_preference import PAIRS, TINY, save_tiny_model

finite = st.floats(-50, 50)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    save_tiny_model(folder)
    return folder


@given(finite, finite, st.floats(0, 20), st.floats(0.01, 1))
@settings(max_examples=200, deadline=None)
def test_the_loss_is_safedpos_formula(chosen: float, rejected: float, margin: float, beta: float) -> None:
    """log(1 + exp(−(β·h − Δ))) by Python's floats."""
    to = lambda value: torch.tensor([value], dtype=torch.float64)  # noqa: E731
    logit = beta * (chosen - rejected) - margin
    expected = max(-logit, 0.0) + math.log1p(math.exp(-abs(logit)))
    assert preference_losses(to(chosen), to(rejected), to(margin), beta).item() == pytest.approx(expected, rel=1e-12)


def test_the_margin_keeps_pulling_where_plain_dpo_is_content() -> None:
    ratios = torch.tensor([20.0, 20.0], dtype=torch.float64, requires_grad=True)
    losses = preference_losses(ratios, torch.zeros_like(ratios), torch.tensor([0.0, 10.0], dtype=torch.float64), 0.1)
    (gradient,) = torch.autograd.grad(losses.sum(), ratios)
    # −β·σ(Δ − β·h): σ(−2) and σ(8)
    assert gradient.tolist() == pytest.approx([-0.1 / (1 + math.exp(2)), -0.1 / (1 + math.exp(-8))], rel=1e-12)


def test_ids_arrive_whole_and_the_loss_agrees_with_stock_trl_and_with_plain_logits(tiny: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(tiny)
    rows = tokenise(tokenizer, relabel(PAIRS).pairs, 512, 0.0).rows
    config = PreferenceConfig(**TINY | {"sft_weight": 0.7, "beta": 0.3})
    trainer, reference = open_trainer(config, tiny, tokenizer, rows, 2, tmp_path)
    assert list(reference) == ["ref_chosen_logps", "ref_rejected_logps"]
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype="float32")

    def log_probability(prompt: list[int], completion: list[int]) -> float:
        """By the plain model, one text at a time, without padding."""
        logits = model(torch.tensor([prompt + completion])).logits[0, :-1].log_softmax(-1)
        return logits[len(prompt) - 1 :].gather(1, torch.tensor(completion)[:, None]).sum().item()

    for place in (0, 1, 23):
        row = rows[place]
        plain = [log_probability(row["prompt_ids"], row[name]) for name in ("chosen_ids", "rejected_ids")]
        assert [reference[name][place] for name in reference] == pytest.approx(plain, rel=1e-5)

    with torch.no_grad():
        trainer.model.model.embed_tokens.weight.mul_(1.3)  # away from the reference
    batch = next(iter(trainer.get_train_dataloader()))
    first = batch["input_ids"][0][batch["completion_mask"][0].bool()].tolist()
    assert first in [row["chosen_ids"] for row in rows]
    own = trainer.compute_loss(trainer.model, batch)
    trainer.loss_types, trainer.loss_weights = ["sigmoid", "sft"], [1.0, 0.7]
    stock = super(type(trainer), trainer).compute_loss(trainer.model, {k: batch[k] for k in batch if k != "margin"})
    assert own.item() == pytest.approx(stock.item(), rel=1e-6)
    batch["margin"] += 2.0
    assert trainer.compute_loss(trainer.model, batch).item() > own.item()


def test_the_collator_keeps_margins_with_their_pairs_and_cuts_nothing() -> None:
    row = {"prompt_ids": [1], "chosen_ids": [2, 3], "rejected_ids": [4], "length": 3}
    other = {"prompt_ids": [5] * 300, "chosen_ids": [6] * 1500, "rejected_ids": [7], "length": 1800}
    batch = MarginCollator(pad_token_id=0)([row | {"margin": 5.0}, other | {"margin": 0.0}])
    assert batch["margin"].tolist() == [5.0, 0.0]
    assert batch["input_ids"].shape == (4, 1800) and batch["completion_mask"].sum(1).tolist() == [2, 1500, 1, 1]


def test_a_loss_that_is_not_finite_stops_before_the_weights_are_touched(tiny: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(tiny)
    rows = tokenise(tokenizer, PAIRS[:8], 512, 0.0).rows
    trainer, _ = open_trainer(PreferenceConfig(**TINY), tiny, tokenizer, rows, 2, tmp_path)
    with torch.no_grad():
        trainer.model.model.norm.weight[0] = float("inf")
    before = trainer.model.model.embed_tokens.weight.clone()
    with pytest.raises(EngineError, match=r"step 1 is (nan|inf).*learning_rate"):
        trainer.train()
    assert torch.equal(trainer.model.model.embed_tokens.weight, before)


@given(st.lists(st.integers(1, 900), min_size=1, max_size=300), st.integers(0, 50), st.integers(0, 20))
@settings(max_examples=50, deadline=None)
def test_an_epochs_order_is_a_function_of_seed_and_epoch_and_holds_every_sample_once(
    lengths: list[int], seed: int, epoch: int
) -> None:
    def order(epoch: int) -> list[int]:
        sampler = EpochSampler(lengths, 4, seed)
        sampler.set_epoch(epoch)
        torch.rand(1)  # the global random state has no part in it
        return list(sampler)

    assert order(epoch) == order(epoch) and sorted(order(epoch)) == list(range(len(lengths)))


def test_epochs_differ_and_batches_hold_like_lengths() -> None:
    lengths = [10 * (place % 50) + 1 for place in range(1000)]
    sampler = EpochSampler(lengths, 10, 0)
    first = list(sampler)
    sampler.set_epoch(1)
    assert first != list(sampler)
    spread = [max(lengths[i] for i in batch) - min(lengths[i] for i in batch)
              for batch in (first[start : start + 10] for start in range(10, 500, 10))]  # fmt: skip
    assert sum(spread) / len(spread) < 50  # at random about 400


def test_reference_values_of_other_rows_are_not_used() -> None:
    rows = [{"margin": 0.0}, {"margin": 1.0}]
    values = {"ref_chosen_logps": [-1.0, -2.0], "ref_rejected_logps": [-3.0, -4.0]}
    assert with_reference(rows, values)[1] == {"margin": 1.0, "ref_chosen_logps": -2.0, "ref_rejected_logps": -4.0}
    for other in (None, {}, {"ref_chosen_logps": [-1.0, -2.0]}, {name: [1.0] for name in values}):
        assert with_reference(rows, other) == rows
