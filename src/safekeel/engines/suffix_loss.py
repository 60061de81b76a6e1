"""How likely a model with its weights at hand is to begin its turn with given words, and which tokens of a suffix
behind the request would make it likelier: what a white-box attack needs of an engine.

    [prompt up to the suffix] [suffix] [rest of the prompt] [wanted beginning]  ──►  mean cross-entropy of the last part

Suffixes are token ids, and only such as the tokenizer reads back from their text within the whole prompt: the attack is
told as a text that anybody can send.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from safekeel.chat import ThinkMode, completion_text, generation_prompt, prompt_ids
from safekeel.engines.hf import HfEngine
from safekeel.errors import DataError, EngineError
from safekeel.records import Message, Prompt
from safekeel.think_split import OPEN

_MARK = "\u2063SUFFIX\u2063"
"""Stands for the suffix while the chat template is rendered: no request contains invisible separators around it."""


class SuffixLoss:
    """The loss of one request as a function of the suffix behind it."""

    def __init__(self, engine: HfEngine, prompt: Prompt, thought: str, answer: str, think: ThinkMode) -> None:
        """Render and tokenize everything but the suffix.

        Args:
            engine: its model and its tokenizer are used, `batch_size` suffixes per forward pass; the weights are left
                as they are.
            prompt: its last message is the request.
            thought, answer: the beginning of the turn that is wanted; the thought is left out where the chat template
                closes it or the model has none.

        Raises:
            DataError: the last message is not the user's, or the chat template rejects or rewrites it.
        """
        last = prompt.messages[-1]
        if last.role != "user":
            raise DataError(f"goal {prompt.id} ends with the {last.role}'s turn; expected the user's, for a suffix.")
        marked = (*prompt.messages[:-1], Message(role="user", content=last.content + _MARK))
        rendered = generation_prompt(engine.tokenizer, marked, think)
        before, found, self._after = rendered.text.partition(_MARK)
        if not found:
            raise DataError(f"goal {prompt.id}: the chat template changes a request's end, so it takes no suffix.")
        self._tokenizer, self._model, self._device = engine.tokenizer, engine.model, engine.device
        self._batch_size, self._before, self._model_id = engine.batch_size, before, engine.model_id
        self._before_ids = prompt_ids(self._tokenizer, before)
        self._after_ids = self.ids(self._after)
        wanted = completion_text(thought, answer)
        if rendered.state == "closed" or not engine.can_think:
            wanted = answer
        elif rendered.state != "open":
            wanted = f"{OPEN}\n{wanted}"
        self._wanted = self.ids(wanted)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides every loss, as plain JSON data."""
        parts = {"before": self._before, "after": self._after, "wanted": self._wanted}
        return {"model": self._model_id, **parts}

    def text(self, suffix: Sequence[int]) -> str:
        """A suffix as it stands behind the request."""
        found: str = self._tokenizer.decode(suffix, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return found

    def ids(self, text: str) -> list[int]:
        """Text as token ids, without any that the tokenizer would put around it."""
        found: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    def reads_back(self, suffix: Sequence[int]) -> bool:
        """Whether the prompt with the suffix's text has exactly the suffix's tokens in its place."""
        return prompt_ids(self._tokenizer, self._before + self.text(suffix) + self._after) == self._prompt(suffix)

    def losses(self, suffixes: Sequence[Sequence[int]]) -> list[float]:
        """Mean cross-entropy (nats per token) of the wanted beginning under each suffix; all of one length.

        Raises:
            EngineError: out of memory.
        """
        found: list[float] = []
        with torch.inference_mode():
            for start in range(0, len(suffixes), self._batch_size):
                rows = [self._prompt(suffix) + self._wanted for suffix in suffixes[start : start + self._batch_size]]
                found += self._cross_entropy(input_ids=torch.tensor(rows, device=self._device)).tolist()
        return found

    def best_tokens(self, suffix: Sequence[int], top_k: int) -> list[list[int]]:
        """Per position of the suffix the `top_k` tokens whose choice lowers the loss fastest, by its gradient; only
        tokens that stand for text of their own (no special ones, no parts of a character)."""
        gradient = self.gradient(suffix)
        gradient[:, ~self._readable] = torch.inf
        found: list[list[int]] = gradient.topk(min(top_k, int(self._readable.sum())), largest=False).indices.tolist()
        return found

    @cached_property
    def _readable(self) -> torch.Tensor:
        """Which tokens are printable text of their own, (vocabulary,)."""
        size = self._model.get_input_embeddings().weight.shape[0]
        barred = {*self._tokenizer.all_special_ids, *self._tokenizer.get_added_vocab().values()}
        texts = self._tokenizer.batch_decode([[token] for token in range(min(size, len(self._tokenizer)))])
        found = [
            token not in barred and text != "" and text.isprintable() and "\ufffd" not in text
            for token, text in enumerate(texts)
        ]
        return torch.tensor(found + [False] * (size - len(found)), device=self._device)

    def gradient(self, suffix: Sequence[int]) -> torch.Tensor:
        """Derivative of the loss by the one-hot choice of each of the suffix's tokens, (positions, vocabulary).

        Raises:
            EngineError: out of memory.
        """
        weights = self._model.get_input_embeddings().weight
        ids = torch.tensor(self._prompt(suffix) + self._wanted, device=self._device)
        start = len(self._before_ids)
        with torch.enable_grad():
            chosen = torch.nn.functional.one_hot(ids[start : start + len(suffix)], weights.shape[0]).to(weights.dtype)
            chosen.requires_grad_()
            embedded = weights[ids].detach()
            parts = [embedded[:start], chosen @ weights.detach(), embedded[start + len(suffix) :]]
            loss = self._cross_entropy(inputs_embeds=torch.cat(parts)[None]).sum()
            (gradient,) = torch.autograd.grad(loss, [chosen])
        return gradient.float()

    def _cross_entropy(self, **inputs: torch.Tensor) -> torch.Tensor:
        """Per row of `input_ids` (rows, positions) or `inputs_embeds` (rows, positions, size)."""
        (given,) = inputs.values()
        num_wanted = len(self._wanted)
        try:
            logits = self._model(**inputs, use_cache=False).logits[:, -num_wanted - 1 : -1]
        except torch.OutOfMemoryError as error:
            raise EngineError(
                f"out of memory with {given.shape[0]} suffixes of {given.shape[1]} positions; lower --batch-size."
            ) from error
        wanted = torch.tensor(self._wanted, device=self._device).expand(len(logits), -1)
        return cross_entropy(logits.float().transpose(1, 2), wanted, reduction="none").mean(1)

    def _prompt(self, suffix: Sequence[int]) -> list[int]:
        return [*self._before_ids, *suffix, *self._after_ids]
