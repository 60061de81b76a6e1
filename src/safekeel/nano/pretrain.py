"""Pretraining the nano base on CPU: a copying curriculum, then one pass over freshly drawn documents.

A plain PyTorch loop, since the point is to read what happens: token-budget batches of similar lengths, AdamW, linear
decay by step (never by wall clock: the same seed gives the same model), more weight on the tokens that carry results.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

from safekeel.chat import completion_ids, render_prompt
from safekeel.nano.knowledge import LETTERS
from safekeel.nano.language import REQUESTS, risk_name
from safekeel.nano.pretraining import Document
from safekeel.nano.words import LANGS
from safekeel.records import Message
from safekeel.taxonomy import load_taxonomy

Encoded = tuple[list[int], list[int]]  # prompt ids, completion ids

BATCH_TOKENS = (
    1024  # small batches: at this size a step costs 0.1 s and more steps beat bigger ones (feasibility.md §2)
)
PROMPT_WEIGHT = 0.1  # loss weight of prompt tokens
RESULT_WEIGHT = 3.0  # loss weight of digits and option letters
WARMUP_STEPS, FINAL_LR_SHARE, CLIP_NORM = 50, 0.02, 1.0


@dataclass(frozen=True)
class TrainingSummary:
    steps: int
    tokens: int
    seconds: float
    loss: float


def encode(tokenizer: PreTrainedTokenizerFast, documents: list[Document]) -> list[Encoded]:
    """Documents as the model will meet them: the chat template's generation prompt, then thought and answer."""
    # The template costs a jinja render; documents differ only in the user turn, so render it once around a mark.
    before, _, after = render_prompt(tokenizer, (Message(role="user", content="\x00"),)).partition("\x00")
    prompts = tokenizer([before + doc.prompt + after for doc in documents], add_special_tokens=False)["input_ids"]
    return [
        (ids, completion_ids(tokenizer, doc.thought, doc.answer)) for ids, doc in zip(prompts, documents, strict=True)
    ]


def curriculum(tokenizer: PreTrainedTokenizerFast, num: int, seed: int) -> list[Encoded]:
    """Random tokens to copy and to look up among options, in the world's sentence frames: no meaning, only the
    circuits."""
    rng = random.Random(seed)
    ids: Callable[[str], list[int]] = lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]  # noqa: E731
    before, _, after = render_prompt(tokenizer, (Message(role="user", content="\x00"),)).partition("\x00")
    start, think, close = ids(before), ids(after), ids("\n</think>\n\n")
    frames = [ids(text.replace("{x}", "")) for lang in REQUESTS.values() for group in lang.values() for text in group]
    marks = [[ids(f"\n{letter}{mark}") for letter in LETTERS] for mark in (".", "：")]
    letters = [ids(f" ({letter}).") for letter in LETTERS]
    ordinary = list(range(3, len(tokenizer) - 4))
    found: list[Encoded] = []
    for _ in range(num):
        if rng.random() < 0.35:
            copied, frame = rng.choices(ordinary, k=rng.randint(2, 8)), rng.choice(frames)
            cut = rng.randint(0, len(frame))
            prompt, body = frame[:cut] + copied + frame[cut:], copied + close + copied
        else:
            options = [rng.choices(ordinary, k=rng.randint(1, 3)) for _ in LETTERS]
            pick = rng.randrange(4)
            lines = zip(rng.choice(marks), options, strict=True)
            prompt = options[pick] + [token for mark, option in lines for token in mark + option]
            body = options[pick] + letters[pick] + close + letters[pick]
        found.append((start + prompt + think, [*body, tokenizer.eos_token_id]))
    return found


def batches(data: list[Encoded], rng: random.Random, batch_tokens: int = BATCH_TOKENS) -> Iterator[list[Encoded]]:
    """Batches of at most `batch_tokens` padded tokens, similar lengths together, in random order."""
    shuffled = data.copy()
    rng.shuffle(shuffled)
    window = 3200
    packed: list[list[Encoded]] = []
    for start in range(0, len(shuffled), window):
        batch: list[Encoded] = []
        for item in sorted(shuffled[start : start + window], key=lambda pair: len(pair[0]) + len(pair[1])):
            if batch and (len(item[0]) + len(item[1])) * (len(batch) + 1) > batch_tokens:
                packed.append(batch)
                batch = []
            batch.append(item)
        packed.append(batch)
    rng.shuffle(packed)
    yield from packed


def result_weights(tokenizer: PreTrainedTokenizerFast) -> torch.Tensor:
    """Loss weight per token id (vocab,): digits, option letters and the names of risks count more."""
    weights = torch.ones(len(tokenizer))
    names = [risk_name(risk, lang) for lang in LANGS for risk in (None, *load_taxonomy().subset("31"))]
    # A result is decided by its first token: the rest of a name follows from it.
    starts = [*"0123456789", *LETTERS, *(f" {letter}" for letter in LETTERS), *names, *(f" {name}" for name in names)]
    for text in starts:
        weights[tokenizer(text, add_special_tokens=False)["input_ids"][0]] = RESULT_WEIGHT
    return weights


def collate(
    batch: list[Encoded], pad_id: int, weights: torch.Tensor, prompt_weight: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded ids (B, T) and loss weights (B, T) of predicting each token from those before it."""
    width = max(len(prompt) + len(completion) for prompt, completion in batch)
    ids = torch.full((len(batch), width), pad_id)
    loss_weights = torch.zeros(len(batch), width)
    for row, (prompt, completion) in enumerate(batch):
        length = len(prompt) + len(completion)
        ids[row, :length] = torch.tensor(prompt + completion)
        loss_weights[row, 1 : len(prompt)] = prompt_weight
        loss_weights[row, len(prompt) : length] = weights[ids[row, len(prompt) : length]]
    return ids, loss_weights


def train(
    model: Qwen2ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    data: list[Encoded],
    *,
    learning_rate: float,
    seed: int,
    decay: bool = True,
    prompt_weight: float = PROMPT_WEIGHT,
    max_steps: int | None = None,
    progress: Callable[[int, int, float], None] | None = None,
) -> TrainingSummary:
    """One pass over the data, or `max_steps` of it; updates the model in place. `progress(step, total, loss)`."""
    plan = list(batches(data, random.Random(seed)))[:max_steps]
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=learning_rate, weight_decay=0.01, betas=(0.9, 0.98), fused=True
    )
    weights = result_weights(tokenizer)
    started, tokens, recent = time.monotonic(), 0, 0.0
    model.train()
    for step, batch in enumerate(plan):
        remaining = 1 - step / len(plan) if decay else 1.0
        for group in optimizer.param_groups:
            group["lr"] = (
                learning_rate * min(1, (step + 1) / WARMUP_STEPS) * (FINAL_LR_SHARE + (1 - FINAL_LR_SHARE) * remaining)
            )
        ids, loss_weights = collate(batch, tokenizer.pad_token_id, weights, prompt_weight)
        chosen = loss_weights[:, 1:] > 0
        # Logits only where the loss needs them: the vocabulary projection is the dearest part of a model this small.
        hidden = model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state[chosen]  # (N, H)
        losses = F.cross_entropy(model.lm_head(hidden), ids[:, 1:][chosen], reduction="none")
        loss = (losses * loss_weights[:, 1:][chosen]).sum() / loss_weights[:, 1:][chosen].sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()
        tokens += sum(len(prompt) + len(completion) for prompt, completion in batch)
        recent = loss.item() if step == 0 else 0.98 * recent + 0.02 * loss.item()
        if progress is not None:
            progress(step + 1, len(plan), recent)
    return TrainingSummary(len(plan), tokens, time.monotonic() - started, recent)
