"""How many tokens a sample costs in training: counted with a real tokenizer, or estimated from its characters.

    counter = token_counter(Path("models/DeepSeek-R1-Distill-Qwen-7B"))     # or None for the estimate
    counter(sample); counter.count(samples)                                 # the second encodes in batches

What is counted is what `train/text.py` gives the trainers: the prompt rendered with the generation prompt, then
thought, `</think>`, answer and EOS, through the same functions of `safekeel.chat`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from safekeel.chat import Tokenizer, load_tokenizer, thinking_prompt, training_text
from safekeel.corpus.sample import Sample
from safekeel.errors import DataError, EngineError, SafeKeelError

CountTokens = Callable[[Sample], int]
"""Tokens of one sample: prompt, thought and answer together."""

BATCH = 512  # samples encoded at once; the tokenizers library gains nothing from more

# Measured with the Qwen2 vocabulary of R1-Distill-Qwen on LLaMA-Factory's alpaca demos (`alpaca_demo` of the registry):
# 1,000 Chinese rows of 218,272 characters, 172,911 of them CJK, are 123,981 tokens; 999 English rows of 788,033
# characters are 163,524 tokens. The two rates are solved so that both sums come out; a single row is off by about 10%.
CHARACTERS_PER_TOKEN_CJK = 1.51
CHARACTERS_PER_TOKEN_OTHER = 4.82
TEMPLATE_TOKENS = 9
"""R1's marks around one turn: BOS, user, assistant, `<think>`, newline, newline, `</think>`, blank line, EOS."""
_CJK_RUN = re.compile("[\u3000-\u303f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef]+")


@runtime_checkable
class BatchCounter(Protocol):
    """A counter that is faster on many samples at once."""

    method: str
    """How the numbers came about, for cards and manifests."""

    def __call__(self, sample: Sample) -> int: ...

    def count(self, samples: Sequence[Sample]) -> list[int]:
        """Tokens of each sample, in the same order."""
        ...

    def parts(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """`{"tokenizer", "prompt", "thought", "answer"}` for the card: lengths of the parts, one per sample each. The
        closing tag and EOS count in no part."""
        ...


def token_counter(folder: Path | None = None) -> BatchCounter:
    """A counter for the tokenizer in a model folder; None gives the estimate.

    Raises:
        DataError: the folder holds no tokenizer, or one without a chat template or EOS token.
        EngineError: the tokenizer does not return its own input, or transformers is not installed.
    """
    return EstimatedTokens() if folder is None else CountedTokens(open_tokenizer(folder))


def open_tokenizer(folder: Path) -> Tokenizer:
    """`chat.load_tokenizer`, with what is missing said in words.

    Raises:
        DataError, EngineError: as `token_counter`.
    """
    if not (folder / "tokenizer_config.json").is_file() and not (folder / "tokenizer.json").is_file():
        raise DataError(f"{folder} holds no tokenizer.json; name the folder of a model or of its tokenizer.")
    try:
        tokenizer = load_tokenizer(folder)
    except ImportError as error:
        raise EngineError(
            "Counting or rendering with a tokenizer needs transformers: pip install 'safekeel[train]'."
        ) from error
    except SafeKeelError:
        raise
    except Exception as error:  # transformers has no common base for what a malformed tokenizer raises
        raise DataError(f"The tokenizer in {folder} cannot be loaded ({type(error).__name__}: {error}).") from error
    if tokenizer.eos_token_id is None:
        raise DataError(f"The tokenizer in {folder} has no EOS token; set eos_token in its tokenizer_config.json.")
    return tokenizer


class CountedTokens:
    """Exact counts by a tokenizer: the lengths of `train/text.py: encode`."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.method = f"counted with {getattr(tokenizer, 'name_or_path', '') or type(tokenizer).__name__}"
        self._adds_bos = tokenizer.bos_token_id is not None and tokenizer("")["input_ids"][:1] == [
            tokenizer.bos_token_id
        ]

    def __call__(self, sample: Sample) -> int:
        return self.count([sample])[0]

    def count(self, samples: Sequence[Sample]) -> list[int]:
        """Tokens of each sample, in the same order; the texts are encoded in batches."""
        totals: list[int] = []
        for start in range(0, len(samples), BATCH):
            batch = samples[start : start + BATCH]
            texts = [
                training_text(self.tokenizer, sample.prompt.messages, sample.thought, sample.answer) for sample in batch
            ]
            prompts = self._encode([prompt for prompt, _ in texts])
            completions = self._encode([completion for _, completion in texts])
            totals += [
                self._with_one_bos(prompt) + len(completion) + 1  # the EOS token
                for prompt, completion in zip(prompts, completions, strict=True)
            ]
        return totals

    def parts(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """See `BatchCounter.parts`."""
        rendered = [thinking_prompt(self.tokenizer, sample.prompt.messages) for sample in samples]
        return {
            "tokenizer": self.method,
            "prompt": [self._with_one_bos(ids) for ids in self._batched(rendered)],
            "thought": [len(ids) for ids in self._batched([sample.thought for sample in samples])],
            "answer": [len(ids) for ids in self._batched([sample.answer for sample in samples])],
        }

    def _batched(self, texts: list[str]) -> Iterator[list[int]]:
        for start in range(0, len(texts), BATCH):
            yield from self._encode(texts[start : start + BATCH])

    def _encode(self, texts: list[str]) -> list[list[int]]:
        ids: list[list[int]] = self.tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    def _with_one_bos(self, ids: list[int]) -> int:
        """Length of a prompt as `chat.prompt_ids` has it: BOS exactly once where template or tokenizer put one."""
        bos = self.tokenizer.bos_token_id
        if bos is None:
            return len(ids)
        start = next((index for index, token in enumerate(ids) if token != bos), len(ids))
        return len(ids) - start + (start > 0 or self._adds_bos)


class EstimatedTokens:
    """Counts from characters, where no tokenizer is given: within 1% over many ordinary rows, not for one row."""

    method = (
        f"estimated from characters ({CHARACTERS_PER_TOKEN_CJK} Chinese or {CHARACTERS_PER_TOKEN_OTHER} other "
        f"characters per token, {TEMPLATE_TOKENS} tokens for the template)"
    )

    def __call__(self, sample: Sample) -> int:
        messages = sample.prompt.messages
        texts = [*(message.content for message in messages), sample.thought, sample.answer]
        return TEMPLATE_TOKENS + len(messages) - 1 + round(sum(map(_tokens, texts)))

    def count(self, samples: Sequence[Sample]) -> list[int]:
        """Tokens of each sample, in the same order."""
        return [self(sample) for sample in samples]

    def parts(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """See `BatchCounter.parts`."""
        prompts = [" ".join(message.content for message in sample.prompt.messages) for sample in samples]
        texts = {
            "prompt": prompts,
            "thought": [sample.thought for sample in samples],
            "answer": [sample.answer for sample in samples],
        }
        return {"tokenizer": self.method} | {part: [round(_tokens(text)) for text in of] for part, of in texts.items()}


def _tokens(text: str) -> float:
    chinese = sum(map(len, _CJK_RUN.findall(text)))
    return chinese / CHARACTERS_PER_TOKEN_CJK + (len(text) - chinese) / CHARACTERS_PER_TOKEN_OTHER


def count_all(samples: Sequence[Sample], count_tokens: CountTokens) -> list[int]:
    """Tokens of each sample, in batches where the counter can."""
    if isinstance(count_tokens, BatchCounter):
        return count_tokens.count(samples)
    return [count_tokens(sample) for sample in samples]
