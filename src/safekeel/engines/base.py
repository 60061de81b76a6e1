"""What every engine offers, how it samples, and the key under which a generation may be kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from pydantic import Field

from safekeel.chat import ThinkMode
from safekeel.config import StageConfig
from safekeel.files import digest
from safekeel.records import Completion, Prompt

OnCompletion = Callable[[Completion], None]


class Sampling(StageConfig):
    """How completions are drawn. The defaults are greedy; DeepSeek-R1 asks for temperature 0.6, top-p 0.95."""

    max_tokens: int = Field(128, ge=1)
    """Thought and answer together."""
    temperature: float = Field(0.0, ge=0)
    """0 = greedy: all samples of a prompt are then the same."""
    top_p: float = Field(1.0, gt=0, le=1)
    num_samples: int = Field(1, ge=1)
    """Completions per prompt."""
    seed: int = Field(0, ge=0)
    think: ThinkMode = "default"


class Engine(Protocol):
    """A model that can be asked."""

    @property
    def name(self) -> str:
        """Short name, for tables and records."""
        ...

    @property
    def model_id(self) -> str:
        """Hash of whatever decides the output besides prompt and sampling (weights, tokenizer, template)."""
        ...

    def rendered(self, prompt: Prompt, sampling: Sampling) -> str:
        """What is sent for this prompt: the rendered template, or the canonical JSON of the messages where a server
        renders them. Part of the key of a generation.

        Raises:
            DataError: the prompt cannot be rendered.
        """
        ...

    def generate(
        self, prompts: list[Prompt], sampling: Sampling, on_completion: OnCompletion | None = None
    ) -> list[Completion]:
        """`num_samples` completions per prompt: prompts in their order, then samples.

        `on_completion` gets each row as soon as it exists, in any order. A prompt that cannot be answered gives a row
        with `finish` "error", never an exception.
        """
        ...


def generation_key(model_id: str, rendered_prompt: str, sampling: Sampling, sample: int) -> str:
    """Content address of one generation: whatever changes the text changes the key. `model_id` holds weights and
    template, so a model trained further never gets its predecessor's answers."""
    settings = sampling.model_dump(exclude={"num_samples"})
    return digest({"model_id": model_id, "prompt": rendered_prompt, "sampling": settings, "sample": sample})


def error_row(prompt: Prompt, sample: int, model: str, reason: str, num_prompt_tokens: int = 0) -> Completion:
    """The row of a generation that failed. Its split is `truncated`, so no reader can take it for an answer."""
    return Completion(
        prompt_id=prompt.id,
        sample=sample,
        model=model,
        raw="",
        thought=None,
        answer="",
        split="truncated",
        finish="error",
        num_prompt_tokens=num_prompt_tokens,
        num_completion_tokens=0,
        seconds=0.0,
        error=reason,
    )
