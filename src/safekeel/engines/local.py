"""What engines share that hold the weights themselves: finding a model, its identity, and the way from prompts to token
ids and from new tokens to completions. No torch is needed here."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safekeel.chat import generation_prompt, prompt_ids, split_completion
from safekeel.engines.base import Sampling, error_row
from safekeel.errors import EngineError
from safekeel.files import sha256_file
from safekeel.records import Completion, Finish, Prompt

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_HUB_FILES = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")


@dataclass(frozen=True)
class Job:
    """One completion to make. `limit` = new tokens allowed: the sampling's, or what is left of the model's window."""

    index: int  # in the answer of `generate`
    prompt: Prompt
    sample: int
    ids: list[int]
    limit: int
    prefilled_think: bool
    answer_only: bool
    said: str = ""
    """A prefill (`chat.generation_prompt`): part of `ids`, and of what the model said."""


def make_jobs(
    tokenizer: Any, can_think: bool, window: int | None, prompts: Sequence[Prompt], sampling: Sampling
) -> list[Job]:
    """A job per prompt and sample, in that order.

    Raises:
        DataError: the chat template rejects a prompt's messages.
    """
    jobs: list[Job] = []
    for prompt in prompts:
        text, state, said = generation_prompt(tokenizer, prompt.messages, sampling.think)
        ids = prompt_ids(tokenizer, text)
        room = sampling.max_tokens if window is None else window - len(ids)
        limit, answer_only = min(sampling.max_tokens, room), state == "closed" or not can_think
        for sample in range(sampling.num_samples):
            jobs.append(Job(len(jobs), prompt, sample, ids, limit, state == "open", answer_only, said))
    return jobs


def too_long(job: Job, model: str, window: int | None) -> Completion:
    """The error row of a prompt that leaves no room in the model's window."""
    reason = f"the prompt has {len(job.ids)} tokens, the model's window {window}; shorten it."
    return error_row(job.prompt, job.sample, model, reason, len(job.ids))


def completion_row(
    tokenizer: Any,
    model: str,
    job: Job,
    spoken: list[int],
    num_tokens: int,
    finish: Finish,
    seconds: float,
    ends_at: str | None = None,
) -> Completion:
    """A completion from its new tokens. Its `raw` begins with the prefill, if there is one; its tokens do not count it.

    Args:
        spoken: without the token that ended it, if one did; `num_tokens` counts that one too.
        seconds: the row's share of the work, so that rows add up.
        ends_at: text that begins the next turn: what follows was never an answer.
    """
    # Think tags are special tokens in some tokenizers, so none may be skipped.
    raw = tokenizer.decode(spoken, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    if ends_at is not None and ends_at in raw:
        raw, finish = raw[: raw.index(ends_at)], "stop"
    raw = job.said + raw
    split = split_completion(raw, finish, job.prefilled_think, job.answer_only)
    return Completion(
        prompt_id=job.prompt.id,
        sample=job.sample,
        model=model,
        raw=raw,
        thought=split.thought,
        answer=split.answer,
        split=split.status,
        finish=finish,
        num_prompt_tokens=len(job.ids),
        num_completion_tokens=num_tokens,
        seconds=seconds,
    )


def model_name(location: str | Path) -> str:
    """Short name: a hub id as it is, the last two parts of a folder."""
    local = Path(location).expanduser()
    return "/".join(local.resolve().parts[-2:]) if local.exists() else str(location)


def find_model(scheme: str, location: str) -> Path:
    """The local folder of a model; a hub id is downloaded (safetensors, tokenizer, configuration only).

    Raises:
        EngineError: no such model, or it has no configuration or no safetensors.
    """
    folder = Path(location).expanduser()
    if not folder.exists():
        if not _HUB_ID.fullmatch(location):
            raise EngineError(
                f"{scheme}:{location}: no such folder; expected a checkpoint folder or a hub id (owner/name)."
            )
        folder = _download(scheme, location)
    if not (folder / "config.json").is_file():
        raise EngineError(f"{folder} is not a model: it holds no config.json. Expected a `save_pretrained` folder.")
    if not any(folder.glob("*.safetensors")):
        found = ", ".join(sorted(file.name for file in folder.glob("*.bin"))) or "no weights at all"
        raise EngineError(
            f"{folder} holds {found}, expected *.safetensors: pickled weights can run code when loaded. Convert them."
        )
    return folder


def weights_id(folder: Path, tokenizer: Any) -> str:
    """SHA-256 over the weights, the tokenizer and the chat template."""
    total = hashlib.sha256()
    for file in [*sorted(folder.glob("*.safetensors")), folder / "tokenizer.json"]:
        if file.is_file():
            total.update(sha256_file(file).encode())
    total.update(str(tokenizer.chat_template).encode())
    return total.hexdigest()


def _download(scheme: str, hub_id: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(hub_id, allow_patterns=list(_HUB_FILES)))
    except Exception as error:  # no network, no such repository, no permission: many unrelated classes
        raise EngineError(
            f"{scheme}:{hub_id} is no local folder, and the hub does not give it ({type(error).__name__}: {error}); "
            "correct the path, or download the model and name its folder."
        ) from error
