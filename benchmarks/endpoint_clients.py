"""One client of `benchmarks/endpoint.py`, in its own process: asks all prompts, prints what it cost and what it got.

    python benchmarks/endpoint_clients.py CLIENT '{"url": …, "requests": 1000, "concurrency": 500, "timeout": 600}'

Imports nothing of SafeKeel but for its own client, since Inspect runs in another environment.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
MAX_TOKENS = 256
Answers = Sequence[str | None]
"""The text after the thought, per prompt; None where the client says that it failed. More answers than prompts are rows
it has twice."""


def prompts(number: int) -> list[str]:
    """Different, and as long as a short question."""
    return [f"问题 {index}：请用一句话说明第 {index} 条安全规定的目的，并给出一个例子。" for index in range(number)]


def expected(prompt: str) -> str:
    """The answer part of the mock's reply."""
    return f"答案是 {hashlib.sha256(prompt.encode()).hexdigest()[:16]}。"


def bare(texts: list[str], options: dict[str, Any]) -> Answers:
    """The least a client can do: workers that pull, one aiohttp session, no retries."""
    import aiohttp

    answers: list[str | None] = [None] * len(texts)
    waiting = iter(enumerate(texts))

    async def worker(session: aiohttp.ClientSession) -> None:
        for index, text in waiting:
            body = {"model": "mock", "max_tokens": MAX_TOKENS, "messages": [{"role": "user", "content": text}]}
            async with session.post(options["url"] + "/chat/completions", json=body) as response:
                reply = await response.json()
            answers[index] = reply["choices"][0]["message"]["content"].rpartition("</think>")[2].strip()

    async def run() -> None:
        connector = aiohttp.TCPConnector(limit=options["concurrency"])
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout()) as session:
            await asyncio.gather(*(worker(session) for _ in range(options["concurrency"])))

    asyncio.run(run())
    return answers


def bare_stream(texts: list[str], options: dict[str, Any]) -> Answers:
    """As `bare`, with streamed replies, each event parsed."""
    import aiohttp

    answers: list[str | None] = [None] * len(texts)
    waiting = iter(enumerate(texts))

    async def worker(session: aiohttp.ClientSession) -> None:
        for index, text in waiting:
            body = {"model": "mock", "stream": True, "messages": [{"role": "user", "content": text}]}
            parts = []
            async with session.post(options["url"] + "/chat/completions", json=body) as response:
                async for line in response.content:
                    if line.startswith(b"data: {"):
                        parts.append(json.loads(line[6:])["choices"][0]["delta"]["content"])
            answers[index] = "".join(parts)

    async def run() -> None:
        connector = aiohttp.TCPConnector(limit=options["concurrency"])
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout()) as session:
            await asyncio.gather(*(worker(session) for _ in range(options["concurrency"])))

    asyncio.run(run())
    return answers


def safekeel(texts: list[str], options: dict[str, Any]) -> Answers:
    """`safekeel.engines.api`, each row appended to a file as an evaluation does."""
    from safekeel.engines import open_engine
    from safekeel.engines.base import Sampling
    from safekeel.records import Message, Prompt, append_jsonl

    fixed = {"lang": "zh", "risk": None, "expect": "answer", "target": None, "source": "benchmark", "licence": "none"}
    rows = [
        Prompt(id=f"q/{index}", messages=(Message(role="user", content=text),), **fixed)
        for index, text in enumerate(texts)
    ]
    engine = open_engine(
        "api:mock", base_urls=[options["url"]], concurrency=options["concurrency"], timeout=options["timeout"]
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "completions.jsonl"
        done = engine.generate(rows, Sampling(max_tokens=MAX_TOKENS), lambda row: append_jsonl(path, row))
        twice = path.read_bytes().count(b"\n") - len(done)
    return [*(None if row.finish == "error" else row.answer for row in done), *([None] * twice)]


def lm_eval(texts: list[str], options: dict[str, Any]) -> Answers:
    """lm-eval's `local-chat-completions`, its request phase alone (without tasks and metrics)."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.api_models import JsonChatStr
    from lm_eval.models.openai_completions import LocalChatCompletion

    logging.disable(logging.CRITICAL)  # it prints the replies that failed
    model = LocalChatCompletion(
        base_url=options["url"] + "/chat/completions",
        model="mock",
        num_concurrent=options["concurrency"],
        timeout=options["timeout"],
        think_end_token="</think>",
    )
    settings = {"max_gen_toks": MAX_TOKENS, "temperature": 0, "until": []}
    requests = [
        Instance(
            request_type="generate_until",
            doc={},
            arguments=(JsonChatStr(json.dumps([{"role": "user", "content": text}])), settings),
            idx=index,
        )
        for index, text in enumerate(texts)
    ]
    return list(model.generate_until(requests))


def inspect(texts: list[str], options: dict[str, Any]) -> Answers:
    """Inspect's OpenAI-compatible provider, with its fastest display and log settings."""
    from inspect_ai import Task, eval
    from inspect_ai.dataset import MemoryDataset, Sample
    from inspect_ai.log import read_eval_log
    from inspect_ai.model import GenerateConfig, get_model
    from inspect_ai.solver import generate

    config = GenerateConfig(
        max_connections=options["concurrency"],
        max_tokens=MAX_TOKENS,
        attempt_timeout=int(options["timeout"]),
        max_retries=4,
    )
    model = get_model("openai-api/mock/mock", base_url=options["url"], api_key="none", config=config)
    dataset = MemoryDataset([Sample(input=text, id=index + 1) for index, text in enumerate(texts)])
    with tempfile.TemporaryDirectory() as folder:
        (log,) = eval(
            Task(dataset=dataset, solver=[generate()]),
            model=model,
            max_samples=options["concurrency"],
            display="none",
            log_realtime=False,
            log_dir=folder,
            fail_on_error=False,
        )
        samples = read_eval_log(log.location).samples or []  # those of a long log stay on disk
    found = {int(sample.id): sample for sample in samples}
    answers = [
        None if (one := found.get(index + 1)) is None or one.error or not one.output else one.output.completion
        for index in range(len(texts))
    ]
    return [*answers, *([None] * (len(samples) - len(found)))]


CLIENTS: dict[str, Callable[[list[str], dict[str, Any]], Answers]] = {
    "bare aiohttp": bare,
    "bare aiohttp, streamed": bare_stream,
    "safekeel": safekeel,
    "lm-eval": lm_eval,
    "inspect": inspect,
}


def main() -> None:
    """Run one client. `cpu` is that of the whole call; a warm-up at another server leaves the imports out."""
    client, options = CLIENTS[sys.argv[1]], json.loads(sys.argv[2])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if options["warm_up"]:
        client(prompts(2), options | {"url": options["warm_up"]})
    texts = prompts(options["requests"])
    wall, cpu = time.perf_counter(), time.process_time()
    died = ""
    try:
        answers = client(texts, options)
    except Exception as error:  # lm-eval gives a failed request up with the whole run
        answers, died = [None] * len(texts), f"{type(error).__name__}: {error}"[:200]
    result = {
        "wall": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "lost": sum(not answer for answer in answers[: len(texts)]),
        "told": sum(answer is None for answer in answers[: len(texts)]),
        "wrong": sum(bool(a) and a != expected(text) for a, text in zip(answers, texts, strict=False)),
        "twice": len(answers) - len(texts),
        "died": died,
    }
    print("RESULT " + json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
