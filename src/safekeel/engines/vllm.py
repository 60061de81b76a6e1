"""Generation with vLLM in this process: for a machine with CUDA GPUs (extra `vllm`, 0.29 to 0.31).

**Untested on hardware**: where this was written there is no GPU. What is tested is every call against a stand-in that
has the documented signatures and nothing else: `vllm.LLM(model, *, …)` and `LLM.generate(prompts, sampling_params, *,
use_tqdm)` of vllm/entrypoints/llm.py, the fields of `SamplingParams` (vllm/sampling_params.py) and of `RequestOutput`
and `CompletionOutput` (vllm/outputs.py), as read in vllm-project/vllm at 10fdb8f0, 00388f65 and 003d3ee2.

Prompts are rendered and tokenized here, as for `hf:`, so that thinking modes and the split of thought and answer are
the same for every engine. vLLM batches by itself; rows are handed on after every `chunk_size` requests.
"""

from __future__ import annotations

import hashlib
import json
import time
from functools import cached_property
from pathlib import Path
from typing import Any

from safekeel.chat import can_think, load_tokenizer, render_prompt
from safekeel.engines.base import OnCompletion, Sampling, error_row
from safekeel.engines.local import Job, completion_row, find_model, make_jobs, model_name, too_long, weights_id
from safekeel.errors import EngineError
from safekeel.files import digest
from safekeel.records import Completion, Finish, Prompt

CHUNK_SIZE = 2048
"""Requests per call. vLLM runs at most a few hundred at once, so one chunk keeps it full for most of its time, and a
kill loses no more than a chunk."""


class VllmEngine:
    """A causal language model in a folder (or of the Hugging Face hub) on this machine's GPUs."""

    def __init__(
        self,
        path: str | Path,
        tensor_parallel_size: int = 1,
        dtype: str = "auto",
        gpu_memory_utilization: float = 0.9,
        max_model_len: int | None = None,
        chunk_size: int = CHUNK_SIZE,
    ) -> None:
        """Load the model.

        Args:
            tensor_parallel_size: GPUs that share the model.
            gpu_memory_utilization: share of each GPU's memory to take.
            max_model_len: prompt and completion together, in tokens; None = the model's own window.

        Raises:
            EngineError: vLLM is not installed or finds no GPU, no such model, or it does not load.
            DataError: the model has no chat template.
        """
        self._vllm = _import_vllm(str(path))
        self.name = model_name(path)
        self.folder = find_model("vllm", str(path))
        self.dtype, self.chunk_size = dtype, chunk_size
        self.tokenizer = load_tokenizer(self.folder)
        self.can_think = can_think(self.tokenizer)
        try:
            self.llm: Any = self._vllm.LLM(
                str(self.folder),
                tensor_parallel_size=tensor_parallel_size,
                dtype=dtype,
                gpu_memory_utilization=gpu_memory_utilization,
                max_model_len=max_model_len,
                trust_remote_code=False,
                seed=0,
            )
        except Exception as error:  # what vLLM raises depends on the driver, the GPU and the model
            raise EngineError(
                f"vllm:{path} cannot be loaded ({type(error).__name__}: {error}); it needs a GPU with enough free "
                "memory. Lower gpu_memory_utilization or max_model_len, or raise tensor_parallel_size."
            ) from error
        self.window = int(self.llm.llm_engine.model_config.max_model_len)

    @cached_property
    def model_id(self) -> str:
        """Hash of weights, tokenizer, template and number type."""
        return digest({"engine": "vllm", "dtype": self.dtype, "weights": weights_id(self.folder, self.tokenizer)})

    def rendered(self, prompt: Prompt, sampling: Sampling) -> str:
        """See `Engine.rendered`."""
        return render_prompt(self.tokenizer, prompt.messages, sampling.think)

    def generate(
        self, prompts: list[Prompt], sampling: Sampling, on_completion: OnCompletion | None = None
    ) -> list[Completion]:
        """See `Engine.generate`. A prompt that leaves no room in the model's window gives an error row.

        Every sample is a request with a seed of its own, so that asking again for some gives those same ones.

        Raises:
            DataError: the chat template rejects a prompt's messages.
            EngineError: vLLM gave up; finished rows were handed on.
        """
        rows: dict[int, Completion] = {}

        def done(job: Job, row: Completion) -> None:
            rows[job.index] = row
            if on_completion is not None:
                on_completion(row)

        jobs = make_jobs(self.tokenizer, self.can_think, self.window, prompts, sampling)
        for job in jobs:
            if job.limit < 1:
                done(job, too_long(job, self.name, self.window))
        fitting = [job for job in jobs if job.limit >= 1]
        for start in range(0, len(fitting), self.chunk_size):
            chunk = fitting[start : start + self.chunk_size]
            for job, row in zip(chunk, self._complete(chunk, sampling), strict=True):
                done(job, row)
        return [rows[index] for index in range(len(jobs))]

    def _complete(self, jobs: list[Job], sampling: Sampling) -> list[Completion]:
        started = time.perf_counter()
        prompts = [{"prompt_token_ids": job.ids} for job in jobs]
        try:
            outputs = self.llm.generate(prompts, [self._parameters(job, sampling) for job in jobs], use_tqdm=False)
        except Exception as error:
            raise EngineError(
                f"{self.name}: vLLM gave up ({type(error).__name__}: {error}). Finished rows are kept; run the same "
                "command again to continue."
            ) from error
        share = (time.perf_counter() - started) / len(jobs)
        return [self._row(job, output.outputs[0], share) for job, output in zip(jobs, outputs, strict=True)]

    def _parameters(self, job: Job, sampling: Sampling) -> Any:
        """Everything that the model's own generation config could change is said. Its stop tokens vLLM adds itself."""
        return self._vllm.SamplingParams(
            n=1,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=0,
            min_p=0.0,
            repetition_penalty=1.0,
            max_tokens=job.limit,
            seed=_seed(sampling.seed, job),
            detokenize=False,
        )

    def _row(self, job: Job, output: Any, seconds: float) -> Completion:
        if output.finish_reason not in ("stop", "length"):
            reason = f"vLLM ended this request with finish_reason {output.finish_reason!r}; run the command again."
            return error_row(job.prompt, job.sample, self.name, reason, len(job.ids))
        finish: Finish = output.finish_reason
        tokens = list(output.token_ids)
        spoken = tokens[:-1] if finish == "stop" else tokens  # the stop token is among them
        return completion_row(self.tokenizer, self.name, job, spoken, len(tokens), finish, seconds)


def _seed(seed: int, job: Job) -> int:
    origin = json.dumps([seed, job.sample, job.ids]).encode()
    return int.from_bytes(hashlib.sha256(origin).digest()[:8], "big") >> 1  # a signed 64-bit number


def _import_vllm(location: str) -> Any:
    try:
        import vllm
    except ImportError as error:  # not installed, or its CUDA libraries are not there
        raise EngineError(
            f"vllm:{location} needs vLLM on a CUDA machine ({error}): pip install 'safekeel[vllm]'. To use a running "
            "vLLM server instead: api:NAME with --base-url."
        ) from error
    return vllm
