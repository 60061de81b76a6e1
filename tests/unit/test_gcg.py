"""GCG on the nano model: exact losses and gradients, suffixes that can be sent, steps that survive a kill."""

from __future__ import annotations

import os
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from safekeel.attacks.search import SearchConfig, search
from safekeel.attacks.search.base import load_texts
from safekeel.attacks.search.gcg import Gcg, asked_at, with_suffix
from safekeel.attacks.search.suffix_log import SUFFIXES, SuffixRow
from safekeel.chat import completion_text, generation_prompt, prompt_ids
from safekeel.engines.hf import HfEngine
from safekeel.engines.suffix_loss import SuffixLoss
from safekeel.errors import DataError, UsageError
from safekeel.nano.model import shipped_checkpoint
from safekeel.records import Message, Prompt, read_jsonl
from tests.search_engines import REFUSED, SmallEngine, TextJudge, goal

SMALL = Gcg(suffix_length=4, top_k=16, search_width=12, num_steps=4)


@pytest.fixture(scope="module")
def engine() -> HfEngine:
    return HfEngine(shipped_checkpoint(), batch_size=8)


def loss_of(engine: HfEngine, prompt: Prompt, think: Any = "default") -> SuffixLoss:
    texts = load_texts("gcg", prompt.lang)
    return SuffixLoss(engine, prompt, texts["thought"], texts["answer"], think)


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("think", ["default", "none", "forced"])
def test_the_loss_is_the_models_own_cross_entropy(engine: HfEngine, lang: Any, think: Any) -> None:
    """Of thought and answer where the template leaves the thought open, of the answer alone where it is closed."""
    prompt, texts = goal(3, lang), load_texts("gcg", lang)
    loss = loss_of(engine, prompt, think)
    suffixes = [loss.ids(text)[:4] for text in (" ! ! ! !", " step one step two")]
    wanted = texts["answer"] if think == "none" else completion_text(texts["thought"], texts["answer"])
    wanted_ids = engine.tokenizer(wanted, add_special_tokens=False)["input_ids"]
    for suffix, found in zip(suffixes, loss.losses(suffixes), strict=True):
        messages = with_suffix(prompt, loss.text(suffix))
        ids = prompt_ids(engine.tokenizer, generation_prompt(engine.tokenizer, messages, think).text)
        assert loss.reads_back(suffix)
        with torch.no_grad():
            scores = engine.model(torch.tensor([ids + wanted_ids])).logits[0].log_softmax(-1)
        each = [scores[len(ids) + place - 1, token].item() for place, token in enumerate(wanted_ids)]
        assert found == pytest.approx(-sum(each) / len(each), rel=1e-4)


def test_the_gradient_is_the_slope_of_the_loss(engine: HfEngine) -> None:
    """Central differences along the one-hot choice of a token."""
    loss = loss_of(engine, goal(1))
    suffix = loss.ids(" ! ! ! !")[:4]
    gradient = loss.gradient(suffix)
    weights = engine.model.get_input_embeddings().weight.detach()
    assert gradient.shape == (4, weights.shape[0])
    ids = torch.tensor(loss._prompt(suffix) + loss._wanted)
    for position, token in ((0, 300), (3, 1234)):
        values = []
        for step in (0.05, -0.05):
            embedded = weights[ids].clone()
            embedded[len(loss._before_ids) + position] += step * weights[token]
            with torch.no_grad():
                values.append(loss._cross_entropy(inputs_embeds=embedded[None]).item())
        assert gradient[position, token].item() == pytest.approx((values[0] - values[1]) / 0.1, rel=0.05, abs=1e-3)


def test_chosen_tokens_are_text_of_their_own(engine: HfEngine) -> None:
    loss = loss_of(engine, goal(1, "zh"))
    barred = {*engine.tokenizer.all_special_ids, *engine.tokenizer.get_added_vocab().values()}
    for row in loss.best_tokens(loss.ids(" ! !"), 4096):
        assert len(row) > 1000 and barred.isdisjoint(row)
        assert all("\ufffd" not in engine.tokenizer.decode([token]) for token in row)


def test_steps_are_kept_and_not_taken_again(engine: HfEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that is run again computes no loss; its suffixes stand in the prompts that were asked, readable."""
    config = SearchConfig(budget=2, stop_at_success=False)
    goals = [goal(0), goal(1, "zh")]
    judge = TextJudge()
    told: list[tuple[str, int, int]] = []

    def progress(label: str, done: int, total: int, value: float = 0.0, note: str = "") -> None:
        told.append((label, done, total))

    first = search(SMALL, goals, engine, judge, config, tmp_path, progress=progress)
    assert [each[1:] for each in told if each[0] == "gcg, steps"] == [(n, 8) for n in range(1, 9)]
    rows = read_jsonl(tmp_path / SUFFIXES, SuffixRow)
    assert sorted((row.goal_id, row.step) for row in rows) == sorted((g.id, n) for g in goals for n in range(4))
    assert [row.label for row in first.rows if row.goal_id == goals[0].id] == ["step 0", "step 4"]
    asked = next(row for row in first.rows if row.label == "step 4" and row.goal_id == goals[1].id)
    told = next(row.text for row in rows if (row.goal_id, row.step) == (goals[1].id, 3))
    assert asked.messages[-1].content == goals[1].messages[-1].content + told

    lines = (tmp_path / SUFFIXES).read_text("utf-8").splitlines()
    (tmp_path / SUFFIXES).write_text("\n".join(lines[:-1]) + "\n" + lines[-1][:20], "utf-8")  # a torn last line
    taken: list[int] = []
    whole = SuffixLoss.gradient
    monkeypatch.setattr(SuffixLoss, "gradient", lambda self, suffix: taken.append(1) or whole(self, suffix))  # type: ignore[func-returns-value]
    again = search(SMALL, goals, engine, judge, config, tmp_path)
    assert again.rows == first.rows and len(taken) == 1
    assert {(r.goal_id, r.step): r for r in read_jsonl(tmp_path / SUFFIXES, SuffixRow)} == {
        (r.goal_id, r.step): r for r in rows
    }
    other = search(replace(SMALL, top_k=8), goals[:1], engine, judge, config, tmp_path)  # other settings: other steps
    assert len(taken) > 1 and other.counts["target_calls"] == 2


@pytest.mark.parametrize(
    ("num_steps", "budget", "expected"),
    [(500, 1, {500}), (500, 2, {0, 500}), (4, 3, {0, 2, 4}), (3, 20, {0, 1, 2, 3}), (500, 20, None)],
)
def test_the_target_is_asked_from_the_first_step_to_the_last(
    num_steps: int, budget: int, expected: set[int] | None
) -> None:
    found = asked_at(num_steps, budget)
    assert found == expected if expected else {0, 500} <= found and len(found) == 20


def test_steps_lower_the_loss(engine: HfEngine, tmp_path: Path) -> None:
    search(
        replace(SMALL, num_steps=12, search_width=24),
        [goal(5)],
        engine,
        TextJudge(),
        SearchConfig(budget=1, stop_at_success=False),
        tmp_path,
    )
    losses = [row.loss for row in read_jsonl(tmp_path / SUFFIXES, SuffixRow)]
    assert min(losses[8:]) < losses[0]


def test_it_needs_weights_and_a_users_turn(engine: HfEngine, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="hf:PATH"):
        search(SMALL, [goal(0)], SmallEngine(lambda m: REFUSED), TextJudge(), SearchConfig(), tmp_path)
    begun = goal(0).model_copy(
        update={"messages": (*goal(0).messages, Message(role="assistant", content="step one: [redacted]"))}
    )
    with pytest.raises(DataError, match="expected the user's"):
        loss_of(engine, begun)


REAL = Path(os.environ.get("SAFEKEEL_DATA", "/nonexistent")) / "tokenizers/r1-distill-qwen-reconstructed"
TEMPLATES = sorted((Path(__file__).parents[1] / "data/templates").glob("*.jinja"))


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> HfEngine:
    """R1-Distill-Qwen's tokenizer on a small model with random weights."""
    folder = tmp_path_factory.mktemp("qwen")
    shutil.copytree(REAL, folder, dirs_exist_ok=True)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    Qwen2ForCausalLM(Qwen2Config(vocab_size=152064, num_key_value_heads=1, **sizes)).save_pretrained(folder)
    return HfEngine(folder)


@pytest.mark.skipif(not REAL.is_dir(), reason="needs SAFEKEEL_DATA with tokenizers/r1-distill-qwen-reconstructed")
@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("template", [None, *TEMPLATES], ids=lambda path: path.stem if path else "own")
def test_a_step_on_a_real_tokenizer_and_its_templates(qwen: HfEngine, template: Path | None, lang: Any) -> None:
    """The suffix stands at the end of the user's turn, reads back, and the wanted turn begins as the model's would."""
    own = qwen.tokenizer.chat_template
    try:
        if template is not None:
            qwen.tokenizer.chat_template = template.read_text("utf-8")
        prompt, texts = goal(7, lang), load_texts("gcg", lang)
        loss = loss_of(qwen, prompt)
        start = loss.ids(" !" * 6)
        assert len(start) == 6 and loss.reads_back(start)
        chosen, value = SMALL._step(start, loss, random.Random(0))
        assert loss.reads_back(chosen) and len(chosen) == 6 and chosen != tuple(start) and 0 < value < 20
        sent = generation_prompt(qwen.tokenizer, with_suffix(prompt, loss.text(chosen)))
        assert prompt_ids(qwen.tokenizer, sent.text) == loss._prompt(chosen)
        wanted = qwen.tokenizer.decode(loss._wanted)
        assert wanted.endswith(texts["answer"])
        assert (texts["thought"] in wanted) == (sent.state != "closed")
        assert wanted.startswith("<think>") == (sent.state == "absent")
    finally:
        qwen.tokenizer.chat_template = own
