"""Generation with transformers on this machine: for small models, and for CPU.

Prompts are sorted by length, padded on the left and generated in batches with a KV cache; that is the fastest way of
transformers on CPU (its continuous batching is ten times slower there). Nothing of the model's own generation config
but its stop tokens is used: R1's would turn greedy decoding into sampling.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, GenerationConfig

from safekeel.chat import can_think, load_tokenizer, prompt_ids, render_prompt, split_completion, think_state
from safekeel.engines.base import OnCompletion, Sampling, error_row
from safekeel.engines.decoding import Decoder, Row
from safekeel.errors import EngineError, SafeKeelError
from safekeel.files import sha256_file
from safekeel.records import Completion, Prompt

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_HUB_FILES = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")


@dataclass(frozen=True)
class _Job:
    """One completion to make. `limit` = new tokens allowed: the sampling's, or what is left of the model's window."""

    index: int  # in the answer of `generate`
    prompt: Prompt
    sample: int
    ids: list[int]
    limit: int
    prefilled_think: bool
    answer_only: bool


class HfEngine:
    """A causal language model in a folder (or of the Hugging Face hub), in safetensors, without remote code."""

    def __init__(self, path: str | Path, batch_size: int = 64, device: str | None = None) -> None:
        """Load tokenizer and weights: fp32 on CPU, the checkpoint's own type on an accelerator.

        Raises:
            EngineError: no such model, not safetensors, needs remote code, or its tokenizer is broken.
            DataError: it has no chat template.
        """
        local = Path(path).expanduser()
        self.name = "/".join(local.resolve().parts[-2:]) if local.exists() else str(path)
        self.folder = _find(str(path))
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
        self.can_think = can_think(self.tokenizer)
        self.stop_ids = _stop_ids(model, self.tokenizer)
        self.pad_id = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else min(self.stop_ids)
        self.window: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        model.generation_config = GenerationConfig()  # generate() would merge the checkpoint's own into ours
        self.model = model.to(self.device).eval()

    @cached_property
    def model_id(self) -> str:
        """SHA-256 over the weights, the tokenizer and the chat template."""
        total = hashlib.sha256()
        for file in [*sorted(self.folder.glob("*.safetensors")), self.folder / "tokenizer.json"]:
            if file.is_file():
                total.update(sha256_file(file).encode())
        total.update(str(self.tokenizer.chat_template).encode())
        return total.hexdigest()

    def rendered(self, prompt: Prompt, sampling: Sampling) -> str:
        """See `Engine.rendered`."""
        return render_prompt(self.tokenizer, prompt.messages, sampling.think)

    def generate(
        self, prompts: list[Prompt], sampling: Sampling, on_completion: OnCompletion | None = None
    ) -> list[Completion]:
        """See `Engine.generate`. A prompt that leaves no room in the model's window gives an error row.

        Sampled text is reproducible for the same prompts in the same order with the same batch size.

        Raises:
            DataError: the chat template rejects a prompt's messages.
            EngineError: out of memory.
        """
        rows: dict[int, Completion] = {}

        def done(index: int, row: Completion) -> None:
            rows[index] = row
            if on_completion is not None:
                on_completion(row)

        jobs = self._jobs(prompts, sampling)
        for job in jobs:
            if job.limit < 1:
                reason = f"the prompt has {len(job.ids)} tokens, the model's window {self.window}; shorten it."
                done(job.index, error_row(job.prompt, job.sample, self.name, reason, len(job.ids)))
        for job, row in self._complete([job for job in jobs if job.limit >= 1], sampling):
            done(job.index, row)
        return [rows[index] for index in range(len(jobs))]

    def _jobs(self, prompts: list[Prompt], sampling: Sampling) -> list[_Job]:
        jobs: list[_Job] = []
        for prompt in prompts:
            text = render_prompt(self.tokenizer, prompt.messages, sampling.think)
            ids, state = prompt_ids(self.tokenizer, text), think_state(text)
            room = sampling.max_tokens if self.window is None else self.window - len(ids)
            limit, answer_only = min(sampling.max_tokens, room), state == "closed" or not self.can_think
            for sample in range(sampling.num_samples):
                jobs.append(_Job(len(jobs), prompt, sample, ids, limit, state == "open", answer_only))
        return jobs

    def _complete(self, jobs: list[_Job], sampling: Sampling) -> Iterator[tuple[_Job, Completion]]:
        """Similar lengths together, longest first: memory runs out at once or never."""
        ordered = sorted(jobs, key=lambda job: -len(job.ids))
        rows = [Row(job.ids, job.limit, job.sample) for job in ordered]
        job_of = {id(row): job for row, job in zip(rows, ordered, strict=True)}
        decoder = Decoder(
            self.model, self.stop_ids, self.pad_id, self.batch_size, sampling.temperature, sampling.top_p, sampling.seed
        )
        try:
            with _quiet():
                for row in decoder.run(rows):
                    job = job_of[id(row)]
                    yield job, self._row(job, row.tokens, row.seconds)
        except torch.OutOfMemoryError as error:
            raise EngineError(
                f"{self.name} ran out of memory with {self.batch_size} prompts of up to {len(ordered[0].ids)} tokens "
                f"and {sampling.max_tokens} new ones; lower the batch size (--batch-size) or max_tokens. Finished rows "
                "are kept."
            ) from error

    def _row(self, job: _Job, tokens: list[int], seconds: float) -> Completion:
        """`seconds` is the row's share of its batch, so that rows add up; the stop token counts as a token."""
        stopped = tokens[-1] in self.stop_ids
        # Think tags are special tokens in some tokenizers, so none may be skipped.
        spoken = tokens[:-1] if stopped else tokens
        raw = self.tokenizer.decode(spoken, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        finish = "stop" if stopped else "length"
        split = split_completion(raw, finish, job.prefilled_think, job.answer_only)
        return Completion(
            prompt_id=job.prompt.id,
            sample=job.sample,
            model=self.name,
            raw=raw,
            thought=split.thought,
            answer=split.answer,
            split=split.status,
            finish=finish,
            num_prompt_tokens=len(job.ids),
            num_completion_tokens=len(tokens),
            seconds=seconds,
        )


def _find(location: str) -> Path:
    """The local folder of a model; a hub id is downloaded (safetensors, tokenizer, configuration only)."""
    folder = Path(location).expanduser()
    if not folder.exists():
        if not _HUB_ID.fullmatch(location):
            raise EngineError(f"hf:{location}: no such folder; expected a checkpoint folder or a hub id (owner/name).")
        folder = _download(location)
    if not (folder / "config.json").is_file():
        raise EngineError(f"{folder} is not a model: it holds no config.json. Expected a `save_pretrained` folder.")
    if not any(folder.glob("*.safetensors")):
        found = ", ".join(sorted(file.name for file in folder.glob("*.bin"))) or "no weights at all"
        raise EngineError(
            f"{folder} holds {found}, expected *.safetensors: pickled weights can run code when loaded. Convert them."
        )
    return folder


def _download(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(hub_id, allow_patterns=list(_HUB_FILES)))
    except Exception as error:  # no network, no such repository, no permission: many unrelated classes
        raise EngineError(
            f"hf:{hub_id} is no local folder, and the hub does not give it ({type(error).__name__}: {error}); "
            "correct the path, or download the model and name its folder."
        ) from error


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
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the generators and give the caller's state back afterwards."""
    devices = [] if device.type == "cpu" else [device.index or 0]
    with torch.random.fork_rng(devices, device_type="cuda" if device.type == "cpu" else device.type):
        torch.manual_seed(seed)
        yield


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
