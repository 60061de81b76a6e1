"""Ranking of given continuations by their log-likelihood, through lm-eval's own `hf` model class.

A prompt with `meta["continuations"]` (option -> text) is not answered but ranked: its single user message is the whole
context, without a chat template or a thought, as the community's multiple-choice tasks define it. Only an engine that
holds the weights can do that.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any

from safekeel.errors import EngineError, UsageError
from safekeel.records import Completion, Prompt

CONTINUATIONS = "continuations"
CHUNK_SIZE = 256
"""Prompts ranked before their rows are handed on."""


def is_ranked(prompt: Prompt) -> bool:
    """Whether the prompt's options are to be ranked, rather than the prompt answered."""
    return CONTINUATIONS in prompt.meta


def require_ranking(engine: Any, prompts: Sequence[Prompt]) -> None:
    """Refuse what an engine would answer wrongly without anybody noticing.

    Raises:
        UsageError: some prompts are to be ranked, and the engine cannot.
    """
    ranked = next((prompt for prompt in prompts if is_ranked(prompt)), None)
    if ranked is not None and not getattr(engine, "ranks", False):
        bench = ranked.id.split("/")[0]
        raise UsageError(
            f"{bench} ranks options by log-likelihood, which {engine.name} cannot do; use a local model (hf:PATH). "
            f"Any engine can answer the generative {bench.removesuffix('-loglikelihood')}."
        )


def ranking_text(prompt: Prompt) -> str:
    """What decides a ranking, for the key of a generation."""
    return json.dumps([prompt.messages[-1].content, prompt.meta[CONTINUATIONS]], ensure_ascii=False)


def rank(model: Any, tokenizer: Any, name: str, batch_size: int, prompts: Sequence[Prompt]) -> Iterator[Completion]:
    """A completion per prompt: its answer is the likeliest option, its raw text `{option: [log-likelihood, greedy]}`.

    Raises:
        EngineError: lm-eval is not installed.
    """
    try:
        from lm_eval.api.instance import Instance
        from lm_eval.models.huggingface import HFLM
    except ModuleNotFoundError as error:
        raise EngineError(
            f"log-likelihoods need {error.name}, which is not installed: pip install 'safekeel[capability]'."
        ) from error
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size)
    for start in range(0, len(prompts), CHUNK_SIZE):
        chunk = prompts[start : start + CHUNK_SIZE]
        requests = [
            Instance("loglikelihood", {}, (prompt.messages[-1].content, text), 0)
            for prompt in chunk
            for text in prompt.meta[CONTINUATIONS].values()
        ]
        started = time.perf_counter()
        results = iter(lm.loglikelihood(requests, disable_tqdm=True))
        share = (time.perf_counter() - started) / len(chunk)
        for prompt in chunk:
            ranking = {option: next(results) for option in prompt.meta[CONTINUATIONS]}
            yield _row(prompt, name, ranking, share)


def _row(prompt: Prompt, name: str, ranking: dict[str, tuple[float, bool]], seconds: float) -> Completion:
    return Completion(
        prompt_id=prompt.id,
        model=name,
        raw=json.dumps({option: [float(value), bool(greedy)] for option, (value, greedy) in ranking.items()}),
        thought=None,
        answer=max(ranking, key=lambda option: ranking[option][0]),
        split="none",
        finish="stop",
        num_prompt_tokens=0,
        num_completion_tokens=0,
        seconds=seconds,
    )
