"""Generation with transformers on this machine: for small models, and for CPU.

Prompts are sorted by length and decoded in batches that rows leave and join (`decoding.py`); transformers' continuous
batching is ten times slower on CPU. Nothing of the model's own generation config but its stop tokens is used: R1's
would turn greedy decoding into sampling.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, GenerationConfig

from safekeel.chat import NEXT_TURN, can_think, give_plain_template, load_tokenizer, render_prompt
from safekeel.engines import cpu_attention
from safekeel.engines.base import OnCompletion, Sampling
from safekeel.engines.decoding import Decoder, Row
from safekeel.engines.growing_cache import supports
from safekeel.engines.local import Job, completion_row, find_model, make_jobs, model_name, too_long, weights_id
from safekeel.engines.plain_decoding import PlainDecoder
from safekeel.engines.ranking import is_ranked, rank, ranking_text
from safekeel.errors import EngineError, SafeKeelError
from safekeel.records import Completion, Finish, Prompt


class HfEngine:
    """A causal language model in a folder (or of the Hugging Face hub), in safetensors, without remote code."""

    ranks = True
    """Prompts whose options are to be ranked by log-likelihood are (`ranking.py`)."""

    def __init__(
        self, path: str | Path, batch_size: int = 64, device: str | None = None, plain_template: bool = False
    ) -> None:
        """Load tokenizer and weights: fp32 on CPU, the checkpoint's own type on an accelerator.

        Args:
            plain_template: ask a base model without a chat template in a plain dialogue; its text is cut where it
                begins to write the user's next turn.

        Raises:
            EngineError: no such model, not safetensors, needs remote code, or its tokenizer is broken.
            DataError: it has no chat template.
        """
        self.name = model_name(path)
        self.folder = find_model("hf", str(path))
        self.batch_size = batch_size
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        self.device = torch.device(device) if device else accelerator or torch.device("cpu")
        dtype = "float32" if self.device.type == "cpu" else "auto"
        try:
            with _quiet():
                self.tokenizer = load_tokenizer(self.folder)
                model: Any = AutoModelForCausalLM.from_pretrained(
                    self.folder, dtype=dtype, use_safetensors=True, local_files_only=True, trust_remote_code=False
                )
        except SafeKeelError:
            raise
        except Exception as error:  # what a damaged checkpoint raises depends on where it is damaged
            raise EngineError(
                f"{self.folder} cannot be loaded as a causal language model ({type(error).__name__}: {error}); "
                "expected config.json, tokenizer.json and *.safetensors as `save_pretrained` writes them."
            ) from error
        is_plain = plain_template and give_plain_template(self.tokenizer)
        self.ends_at = NEXT_TURN if is_plain else None
        self.can_think = can_think(self.tokenizer)
        self.stop_ids = _stop_ids(model, self.tokenizer)
        self.pad_id = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else min(self.stop_ids)
        self.window: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        model.generation_config = GenerationConfig()  # generate() would merge the checkpoint's own into ours
        self.model = model.to(self.device).eval()
        self._decoder = Decoder if supports(self.model) else PlainDecoder
        if self._decoder is Decoder:
            cpu_attention.use(self.model)

    @cached_property
    def model_id(self) -> str:
        """SHA-256 over the weights, the tokenizer and the chat template."""
        return weights_id(self.folder, self.tokenizer)

    def rendered(self, prompt: Prompt, sampling: Sampling) -> str:
        """See `Engine.rendered`."""
        if is_ranked(prompt):
            return ranking_text(prompt)
        return render_prompt(self.tokenizer, prompt.messages, sampling.think)

    def generate(
        self, prompts: list[Prompt], sampling: Sampling, on_completion: OnCompletion | None = None
    ) -> list[Completion]:
        """See `Engine.generate`. A prompt that leaves no room in the model's window gives an error row.

        Sampled text depends on the prompt, the seed and the sample number alone (`decoding.Decoder`).

        Raises:
            DataError: the chat template rejects a prompt's messages.
            EngineError: out of memory.
        """
        answered = iter(self._answer([prompt for prompt in prompts if not is_ranked(prompt)], sampling, on_completion))
        ranked = iter(self._rank([prompt for prompt in prompts if is_ranked(prompt)], sampling, on_completion))
        return [
            next(ranked if is_ranked(prompt) else answered) for prompt in prompts for _ in range(sampling.num_samples)
        ]

    def _rank(self, prompts: list[Prompt], sampling: Sampling, on_completion: OnCompletion | None) -> list[Completion]:
        rows = []
        for row in rank(self.model, self.tokenizer, self.name, self.batch_size, prompts) if prompts else ():
            for sample in range(sampling.num_samples):  # a ranking draws nothing: all samples are the same
                rows.append(row.model_copy(update={"sample": sample}))
                if on_completion is not None:
                    on_completion(rows[-1])
        return rows

    def _answer(
        self, prompts: list[Prompt], sampling: Sampling, on_completion: OnCompletion | None
    ) -> list[Completion]:
        rows: dict[int, Completion] = {}

        def done(job: Job, row: Completion) -> None:
            rows[job.index] = row
            if on_completion is not None:
                on_completion(row)

        with _quiet():  # a prompt beyond the window is told as an error row
            jobs = make_jobs(self.tokenizer, self.can_think, self.window, prompts, sampling)
        for job in jobs:
            if job.limit < 1:
                done(job, too_long(job, self.name, self.window))
        for job, row in self._complete([job for job in jobs if job.limit >= 1], sampling):
            done(job, row)
        return [rows[index] for index in range(len(jobs))]

    def _complete(self, jobs: list[Job], sampling: Sampling) -> Iterator[tuple[Job, Completion]]:
        """Similar lengths together, longest first: memory runs out at once or never."""
        ordered = sorted(jobs, key=lambda job: -len(job.ids))
        rows = [Row(job.ids, job.limit, job.sample) for job in ordered]
        job_of = {id(row): job for row, job in zip(rows, ordered, strict=True)}
        decoder = self._decoder(
            self.model,
            self.stop_ids,
            self.pad_id,
            self.batch_size,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            seed=sampling.seed,
        )
        try:
            with _quiet():
                for row in decoder.run(rows):
                    yield job_of[id(row)], self._row(job_of[id(row)], row)
        except torch.OutOfMemoryError as error:
            raise EngineError(
                f"{self.name} ran out of memory with {self.batch_size} prompts of up to {len(ordered[0].ids)} tokens "
                f"and {sampling.max_tokens} new ones; lower the batch size (--batch-size) or max_tokens. Finished rows "
                "are kept."
            ) from error

    def _row(self, job: Job, row: Row) -> Completion:
        stopped = row.tokens[-1] in self.stop_ids
        spoken = row.tokens[:-1] if stopped else row.tokens
        finish: Finish = "stop" if stopped else "length"
        return completion_row(
            self.tokenizer, self.name, job, spoken, len(row.tokens), finish, row.seconds, self.ends_at
        )


def _stop_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Every token that ends a turn: the tokenizer's EOS and those of the checkpoint's generation config (chat models
    name several there)."""
    configured = getattr(model.generation_config, "eos_token_id", None)
    listed = configured if isinstance(configured, list) else [configured]
    found = frozenset(token for token in [*listed, tokenizer.eos_token_id] if token is not None)
    if not found:
        raise EngineError("The model has no EOS token, so it never stops; set eos_token in tokenizer_config.json.")
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' notes and progress bars: engines report through rows and errors."""
    log = transformers.utils.logging
    verbosity, bar = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.set_verbosity(verbosity)
        if bar:
            log.enable_progress_bar()
