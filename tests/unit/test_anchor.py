"""The token losses against their definitions, and the KL anchor: zero at the base, and the exact KL away from it."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the train extra")

import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM

from safekeel.errors import ConfigError
from safekeel.nano.model import shipped_checkpoint
from safekeel.train import token_loss
from safekeel.train.anchor import open_anchor
from safekeel.train.lora import LoraSettings, peft_config
from safekeel.train.token_loss import head_of, kl_to_base, label_nll

CPU = torch.device("cpu")


def random_case(seed: int = 0) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    hidden, base_hidden = (torch.randn(9, 6, generator=generator) for _ in range(2))
    weight, base_weight = (torch.randn(31, 6, generator=generator) for _ in range(2))
    return hidden.requires_grad_(), base_hidden, weight.requires_grad_(), base_weight, torch.arange(9) % 31


@pytest.mark.parametrize("most", [2**26, 70])  # 70 logits: pieces of two positions, made again in the backward pass
def test_losses_are_their_definitions_in_one_piece_or_many(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_loss, "MOST_LOGITS", most)
    hidden, base_hidden, weight, base_weight, labels = random_case()
    logits, base_logits = hidden @ weight.T, base_hidden @ base_weight.T
    nll, right = label_nll(hidden, (weight, None), labels)
    assert torch.allclose(nll, F.cross_entropy(logits, labels, reduction="none"))
    assert right.tolist() == (logits.argmax(-1) == labels).tolist()
    base = base_logits.softmax(-1)
    expected = (base * (base_logits.log_softmax(-1) - logits.log_softmax(-1))).sum(-1)
    divergence = kl_to_base(hidden, (weight, None), base_hidden, (base_weight, None))
    assert torch.allclose(divergence, expected, atol=1e-6) and divergence.min() > 0
    naive = torch.autograd.grad((expected + F.cross_entropy(logits, labels, reduction="none")).sum(), [hidden, weight])
    ours = torch.autograd.grad((divergence + nll).sum(), [hidden, weight])
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(ours, naive, strict=True))


def nano():
    return AutoModelForCausalLM.from_pretrained(shipped_checkpoint(), dtype="float32")


INPUTS = {
    "input_ids": torch.randint(5, 4000, (3, 12), generator=torch.Generator().manual_seed(1)),
    "attention_mask": torch.ones(3, 12, dtype=torch.long),
}
MARKED = torch.zeros(3, 11, dtype=torch.bool)
MARKED[0, 4:9] = MARKED[2, 1:3] = True


def moved(model):
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(2)))
    return model


@pytest.mark.parametrize("has_adapter", [False, True])
def test_the_anchor_is_the_kl_from_the_base_and_zero_at_it(has_adapter: bool) -> None:
    from peft import get_peft_model

    plain = nano()
    model = get_peft_model(plain, peft_config(LoraSettings(rank=4, target="all"), plain)) if has_adapter else plain
    model.train()
    for module in model.modules():  # dropout off, so that the same pass can be made twice
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    anchor = open_anchor(shipped_checkpoint(), plain, has_adapter, CPU, torch.float32)

    def divergence() -> torch.Tensor:
        hidden = plain.base_model(**INPUTS).last_hidden_state
        return anchor.divergence(model, INPUTS, hidden, MARKED)

    assert divergence().abs().max() < 1e-5 and divergence().shape == (7,)
    moved(model)
    base_logits, logits = (
        net(**INPUTS).logits[:, :-1][MARKED].log_softmax(-1).detach() for net in (nano().eval(), model)
    )
    expected = (base_logits.exp() * (base_logits - logits)).sum(-1)
    found = divergence()
    assert torch.allclose(found, expected, atol=1e-4, rtol=1e-3) and expected.max() > 0.01
    found.sum().backward()
    learnt = [weight.grad for weight in model.parameters() if weight.requires_grad]
    assert all(gradient is not None for gradient in learnt) and sum(g.abs().sum() for g in learnt) > 0
    nothing = torch.zeros_like(MARKED)
    assert anchor.divergence(model, INPUTS, plain.base_model(**INPUTS).last_hidden_state, nothing).numel() == 0


def test_a_model_that_rescales_its_logits_is_refused(tmp_path: Path) -> None:
    model = nano()
    model.config.final_logit_softcapping = 30.0
    with pytest.raises(ConfigError, match="final_logit_softcapping"):
        open_anchor(shipped_checkpoint(), model, False, CPU, torch.float32)


def test_the_head_has_its_bias() -> None:
    model = nano()
    weight, bias = head_of(model)
    assert weight is model.lm_head.weight and bias is None
