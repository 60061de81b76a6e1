"""An OpenAI-compatible server for tests: a real aiohttp server in its own process, with scripted replies and faults.

    with endpoint(latency=0.05, faults={"busy": 0.02, "reset": 0.01}) as server:
        engine = open_engine("api:mock", base_urls=[server.base_url])
        rows = engine.generate(asked := prompts(100), Sampling())
        assert mistakes(asked, rows) == []       no row says anything but the truth about its own prompt
        server.stats()     counts since the start: requests, replies, peak, unauthorized, faults, seconds
        server.restart()   after `die_after`: on the same port, with the faults switched off

Replies, the first of these that is given:

    replies=PATH            JSONL as of `engines/scripted.py`, without `id` (a server sees no ids):
                            {"match": REGEX, "raw": …, "finish": "length"} or {"prompt": LAST_MESSAGE, "raw": …}
    function="module:name"  called with the messages; returns what the model writes, tags included, or (text, finish)
    neither                 `truth(text of the last message)`: thought and answer hold a hash of the prompt, so a row
                            with another prompt's answer, or with half of one, is found out

`reasoning` says where the thought goes: `text` (in the content), `prefilled` (in the content, without its opening tag),
`reasoning_content` or `reasoning` (its own field). `/v1/completions` answers with the text as it is.

Faults are shares of prompts by name. Which prompts depends on nothing but their text, so a run can be repeated; they
fail at their first `fault_times` attempts (per seed, so per sample), with 0 at every attempt.

    busy           429 with Retry-After in seconds        no_choices     `choices: []`
    busy_date      429 with Retry-After as an HTTP date   null_content   `content: null`, nothing else
    unavailable    503                                    no_finish      `finish_reason: null`
    error          500                                    html           status 200 with a gateway's page
    reset          closed without a reply                 half_body      closed within the body
    hang           never answered                         surrogate      half a surrogate pair, escaped (a whole reply)
    garbage        half a JSON object                     no_usage       without token counts (a whole reply)
    half_utf8      the body ends within a character       filter         content_filter, half of the text
    bad_request    400 (no retry helps)                   at_limit       says `stop` at max_tokens (a whole reply)

`key` makes it ask for `Authorization: Bearer KEY` (else 401, echoing what it got); `echo_key` puts the header into
every error and text. `model` makes it answer 404 to any other name. `die_after=N` ends the process at the N-th reply.
From a shell: `python -m tests.endpoint_server '{"latency": 1, "port": 8000}'`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safekeel.chat import split_completion
from safekeel.engines import open_engine
from safekeel.engines.base import Engine
from safekeel.records import Completion, Message, Prompt
from tests.endpoint_server import WHOLE, truth

__all__ = ["WHOLE", "Server", "endpoint", "engine", "mistakes", "prompts", "truth"]
ROOT = Path(__file__).resolve().parents[1]


class Server:
    """A running mock, as the test sees it."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self._start()

    def _start(self) -> None:
        # The pipe to its stdin closes when this process dies, however it dies: no mock outlives its test.
        command = [sys.executable, "-m", "tests.endpoint_server", json.dumps(self.config)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.config["port"] = int(self.process.stdout.readline())
        self.base_url = f"http://127.0.0.1:{self.config['port']}/v1"

    def stats(self) -> dict[str, Any]:
        """Counts since the start; `seconds` from the first request to the last reply."""
        with urllib.request.urlopen(self.base_url.replace("/v1", "/stats"), timeout=10) as reply:
            return dict(json.load(reply))

    def stop(self) -> None:
        """End the process; a dead one is fine."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()

    def restart(self) -> None:
        """Start again on the same port, healthy."""
        self.stop()
        self.config |= {"faults": {}, "die_after": 0}
        self._start()


@contextmanager
def endpoint(
    *,
    replies: Path | None = None,
    function: str | None = None,
    latency: float = 0.0,
    reasoning: str = "text",
    faults: dict[str, float] | None = None,
    fault_times: int = 1,
    retry_after: float = 0.2,
    capacity: int = 0,
    key: str | None = None,
    echo_key: bool = False,
    model: str | None = None,
    die_after: int = 0,
) -> Iterator[Server]:
    """Run the mock while the block lasts; the module's docstring explains the arguments.

    Args:
        latency: seconds per reply.
        capacity: requests at a time, all others get 429; 0 = any number.
    """
    server = Server(
        {
            "replies": str(replies) if replies else None,
            "function": function,
            "latency": latency,
            "reasoning": reasoning,
            "faults": faults or {},
            "fault_times": fault_times,
            "retry_after": retry_after,
            "capacity": capacity,
            "key": key,
            "echo_key": echo_key,
            "model": model,
            "die_after": die_after,
            "watch_stdin": True,
        }
    )
    try:
        yield server
    finally:
        server.stop()


def prompts(number: int) -> list[Prompt]:
    """Different prompts with the ids `mock/0`, `mock/1` …"""
    return [
        Prompt(
            id=f"mock/{index}",
            messages=(Message(role="system", content="简短回答。"), Message(role="user", content=f"问题 {index}")),
            lang="zh",
            risk=None,
            expect="answer",
            target=None,
            source="test",
            licence="Apache-2.0",
        )
        for index in range(number)
    ]


def engine(*servers: Server, **options: Any) -> Engine:
    """The endpoint engine on these servers, impatient."""
    urls = [server.base_url for server in servers]
    return open_engine("api:mock", base_urls=urls, **{"concurrency": 40, "timeout": 0.7, "patience": 0.3, **options})


def mistakes(asked: Sequence[Prompt], rows: Sequence[Completion]) -> list[str]:
    """Rows that say anything but the truth about their own prompt; a row that says that it failed makes no mistake."""
    found = []
    for prompt, row in zip(asked, rows, strict=True):
        expected = split_completion(truth(prompt.messages[-1].content), "stop", prefilled_think=False)
        said = (row.prompt_id, row.thought, row.answer.rstrip("\ufffd"))
        if row.finish != "error" and said != (prompt.id, expected.thought, expected.answer):
            found.append(f"{prompt.id}: {row}")
    return found
