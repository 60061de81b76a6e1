"""Any OpenAI-compatible server as an engine: vLLM, SGLang, llama.cpp, DeepSeek's API, a gateway.

    open_engine("api:deepseek-r1", base_urls=["http://10.0.0.1:8000/v1", "http://10.0.0.2:8000/v1"])

One asyncio loop on aiohttp, because it needs about half a millisecond of CPU per request at any number in flight
(`benchmarks/endpoint.py`); clients on httpx need 20 to 30 above a few hundred. `dispatch` keeps the requests in flight,
`exchange` makes one, `endpoint` and `limiter` know what each server takes, `endpoint_reply` reads the answer.

Proxy variables of the environment are not followed. Imports neither torch nor, without a tokenizer, transformers.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from safekeel.chat import GenerationPrompt, Tokenizer, can_think, generation_prompt, load_tokenizer, prefill
from safekeel.engines.base import OnCompletion, Sampling, error_row
from safekeel.engines.dispatch import Dispatch, Job
from safekeel.engines.endpoint import Endpoint, parse_base_url
from safekeel.engines.endpoint_reply import Asked
from safekeel.engines.exchange import Exchange, Request, valid_key
from safekeel.errors import EngineError, UsageError, shown
from safekeel.files import digest
from safekeel.records import Completion, Prompt

CONCURRENCY = 256
"""vLLM's default `max_num_seqs`: more would wait in the server's own queue. Hosted APIs cut it down by their 429s."""
IDLE_SECONDS = 1800.0
"""R1's 32,768 tokens at 20 a second take 27 minutes, and a reply that is not streamed sends no byte before its end."""
PATIENCE_SECONDS = 60.0
_VARIABLE = re.compile(r"[A-Z][A-Z_]{0,39}")
_NO_PREFILL = (
    "the prompt ends with the beginning of the model's own turn (a prefill), which /chat/completions does not take: "
    "give the model's tokenizer with --tokenizer FOLDER, so that /completions is used."
)
_SPARE_FILES = 64  # beside the connections: the run's own files, the interpreter's


class ApiEngine:
    """A model behind one or several base URLs."""

    def __init__(
        self,
        name: str,
        base_urls: Sequence[str],
        api_key_env: str | None = None,
        concurrency: int = CONCURRENCY,
        timeout: float = IDLE_SECONDS,
        tokenizer: str | Path | None = None,
        revision: str | None = None,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        """Nothing is sent yet.

        Args:
            name: the model, as the server calls it.
            base_urls: replicas of the same model, such as `http://127.0.0.1:8000/v1`.
            api_key_env: name of the environment variable that holds the key; None = no key is sent.
            concurrency: requests in flight over all base URLs.
            timeout: idle seconds: a request is given up and sent again when no byte comes for so long.
            tokenizer: local folder of the model's tokenizer, for the thinking modes `none` and `forced`, and for
                prefills.
            revision: of the weights behind the name, where known: part of `model_id`.
            patience: seconds without any living endpoint after which `generate` stops.

        Raises:
            UsageError: no or a wrong URL, a missing key, a wrong number, more connections than the system allows.
        """
        if isinstance(base_urls, str) or not base_urls:
            raise UsageError(f"api:{name} needs its server: --base-url URL, such as http://127.0.0.1:8000/v1.")
        if concurrency < 1 or not timeout > 0:
            raise UsageError(f"concurrency {concurrency}, timeout {timeout:g} s: expected numbers above 0.")
        self.name, self.revision, self.tokenizer_folder = name, revision, tokenizer
        self.base_urls = list(dict.fromkeys(parse_base_url(url) for url in base_urls))
        self.concurrency, self.timeout, self.patience = concurrency, timeout, patience
        self.api_key_env = api_key_env
        self._key()  # now rather than after the benchmarks are read
        _allow_connections(concurrency)

    @cached_property
    def model_id(self) -> str:
        """SHA-256 of the name, the revision and the kind of endpoint; a server does not show its weights. Base URLs
        and key are no part of it: a run may continue on another replica."""
        return digest({"kind": "openai-compatible", "name": self.name, "revision": self.revision})

    def rendered(self, prompt: Prompt, sampling: Sampling) -> str:
        """See `Engine.rendered`: the JSON of the messages; in the modes `none` and `forced`, and for a prefill where
        there is a tokenizer, the rendered template.

        Raises:
            UsageError: these modes without a tokenizer.
        """
        if not self._renders(prompt, sampling):
            return json.dumps(_messages(prompt), ensure_ascii=False, sort_keys=True)
        return self._rendered(prompt, sampling).text

    def _renders(self, prompt: Prompt, sampling: Sampling) -> bool:
        """Whether the template is rendered here, for `/completions`, rather than by the server."""
        return sampling.think != "default" or (
            prefill(prompt.messages) is not None and self.tokenizer_folder is not None
        )

    def _rendered(self, prompt: Prompt, sampling: Sampling) -> GenerationPrompt:
        given = generation_prompt(self._tokenizer, prompt.messages, sampling.think)
        text, bos = given.text, self._tokenizer.bos_token
        # `/completions` puts the BOS before a text as the tokenizer alone would: it must not stand there twice.
        if bos and self._tokenizer("")["input_ids"][:1] == [self._tokenizer.bos_token_id]:
            while text.startswith(bos):
                text = text.removeprefix(bos)
        return given._replace(text=text)

    def generate(
        self, prompts: list[Prompt], sampling: Sampling, on_completion: OnCompletion | None = None
    ) -> list[Completion]:
        """See `Engine.generate`. Runs its own event loop, in which `on_completion` is called: not from within another.

        Samples are separate requests with the seeds `sampling.seed + sample`. A prefill without a tokenizer gives an
        error row: chat servers differ in what they make of a last message of the assistant's (some answer it, some
        delete R1's thought from it).

        Raises:
            EngineError: wrong key, address or model name, or no endpoint lives; rows made before were handed over.
            UsageError: a thinking mode that needs a tokenizer.
        """
        if sampling.think != "default":
            _ = self._tokenizer  # a mistake in the command must not become an error row of each prompt
        pairs = [(prompt, sample) for prompt in prompts for sample in range(sampling.num_samples)]
        jobs: list[Job] = []
        rows: dict[int, Completion] = {}

        def keep(job: Job, row: Completion) -> None:
            rows[job.index] = row
            if on_completion is not None:
                on_completion(row)

        for index, (prompt, sample) in enumerate(pairs):
            job = Job(index, partial(self._request, prompt, sample, sampling))
            if prefill(prompt.messages) is not None and not self._renders(prompt, sampling):
                keep(job, error_row(prompt, sample, self.name, _NO_PREFILL))
            else:
                jobs.append(job)
        asyncio.run(self._run(jobs, keep))
        return [rows[index] for index in range(len(pairs))]

    async def _run(self, jobs: list[Job], keep: Any) -> None:
        endpoints = [Endpoint(url, self.concurrency) for url in self.base_urls]
        async with Exchange(self.name, self._key(), self.api_key_env, self.timeout) as exchange:
            await Dispatch(self.name, endpoints, exchange, self.concurrency, self.patience, keep).run(jobs)

    def _request(self, prompt: Prompt, sample: int, sampling: Sampling) -> Request:
        payload: dict[str, Any] = {
            "model": self.name,
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": sampling.seed + sample,
        }
        asked = Asked(prompt, sample, self.name, sampling.max_tokens)
        if not self._renders(prompt, sampling):
            return Request("chat/completions", payload | {"messages": _messages(prompt)}, asked)
        text, state, said = self._rendered(prompt, sampling)
        answer_only = state == "closed" or not can_think(self._tokenizer)
        asked = asked._replace(prefilled_think=state == "open", answer_only=answer_only, said=said)
        return Request("completions", payload | {"prompt": text}, asked)

    def _key(self) -> str | None:
        """Read at every use and kept nowhere."""
        if self.api_key_env is None:
            return None
        key = os.environ.get(self.api_key_env)
        if key is None:
            # Whatever does not look like a name may be the key itself.
            named = f" {self.api_key_env}" if _VARIABLE.fullmatch(self.api_key_env) else ""
            raise UsageError(
                f"--api-key-env{named}: no such environment variable. Expected the name of one, not the key itself; "
                "set it to the key."
            )
        return valid_key(key, self.api_key_env)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        if self.tokenizer_folder is None:
            raise UsageError(
                "The thinking modes none and forced end the prompt in another way than the server does: give the "
                "model's tokenizer with --tokenizer FOLDER, or use --think default."
            )
        try:
            return load_tokenizer(Path(self.tokenizer_folder))
        except ModuleNotFoundError as error:
            raise EngineError(f"--tokenizer needs {error.name}: pip install 'safekeel[train]'.") from error
        except OSError as error:
            raise UsageError(
                f"--tokenizer {shown(str(self.tokenizer_folder))}: expected a local folder with tokenizer.json and "
                f"tokenizer_config.json ({type(error).__name__})."
            ) from error


def _messages(prompt: Prompt) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in prompt.messages]


def _allow_connections(concurrency: int) -> None:
    """Raise this process's limit of open files, where it is too low for the connections (1,024 on most systems).

    Raises:
        UsageError: the system does not allow it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = concurrency + _SPARE_FILES
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise UsageError(
            f"--concurrency {concurrency} needs {needed} open files and the system allows {hard}; lower it, or raise "
            "the limit (ulimit -Hn)."
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
