"""The process behind `tests.endpoint`, where its options are explained."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import json
import os
import re
import sys
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

from aiohttp import web

WHOLE = ("surrogate", "no_usage", "at_limit")
"""Faults that leave a reply a client has to accept."""
HANG_SECONDS = 3600


def truth(text: str) -> str:
    """The default reply to a prompt: nothing else has this thought and this answer."""
    mark = hashlib.sha256(text.encode()).hexdigest()[:16]
    return f"<think>\n想一想 {mark}\n</think>\n\n答案是 {mark}。"


class _Mock:
    """The server's side."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.reply = _replies(config.get("replies"), config.get("function"))
        self.attempts: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.requests = self.replies = self.unauthorized = self.active = self.peak = 0
        self.started = self.ended = 0.0

    def option(self, name: str, default: Any = 0) -> Any:
        return self.config.get(name) or default

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """One completion, or a fault."""
        now = asyncio.get_running_loop().time()
        self.started = self.started or now
        self.requests += 1
        self.active += 1
        self.peak = max(self.peak, self.active)
        try:
            return await self._answer(request, json.loads(await request.read()))
        finally:
            self.active -= 1
            self.ended = asyncio.get_running_loop().time()

    async def _answer(self, request: web.Request, asked: dict[str, Any]) -> web.StreamResponse:
        authorization = request.headers.get("Authorization", "")
        if self.option("key") and authorization != f"Bearer {self.config['key']}":
            self.unauthorized += 1
            return _error(401, f"Incorrect API key provided: {authorization}")
        if self.option("model") and asked["model"] != self.config["model"]:
            return _error(404, f"The model `{asked['model']}` does not exist.")
        if self.option("capacity") and self.active > self.config["capacity"]:
            return _error(429, "full", {"Retry-After": str(self.option("retry_after"))})
        messages = asked.get("messages") or [{"role": "user", "content": asked["prompt"]}]
        text = messages[-1]["content"]
        fault = self._fault(text, asked.get("seed"))
        if fault and fault not in WHOLE:
            self.faults[fault] += 1
        if failed := await self._failed(fault, request, authorization if self.option("echo_key") else ""):
            return failed
        await asyncio.sleep(self.option("latency"))
        said, finish = self.reply(messages)
        body = self._body(asked, said, finish, fault, authorization if self.option("echo_key") else "")
        self.replies += 1
        if self.replies == self.option("die_after"):
            os._exit(1)
        return await _send(request, body, fault)

    def _fault(self, text: str, seed: object) -> str | None:
        self.attempts[f"{seed} {text}"] += 1
        if self.option("fault_times") and self.attempts[f"{seed} {text}"] > self.config["fault_times"]:
            return None
        place = int.from_bytes(hashlib.sha256(text.encode()).digest()[-4:], "big") / 2**32
        for fault, share in self.option("faults", {}).items():
            if (place := place - share) < 0:
                return str(fault)
        return None

    async def _failed(self, fault: str | None, request: web.Request, echo: str) -> web.StreamResponse | None:
        wait = self.option("retry_after")
        if fault == "busy":
            return _error(429, f"slow down {echo}", {"Retry-After": str(wait)})
        if fault == "busy_date":
            date = format_datetime(datetime.now(UTC) + timedelta(seconds=wait), usegmt=True)
            return _error(429, "slow down", {"Retry-After": date})
        if fault in ("unavailable", "error", "bad_request"):
            return _error({"unavailable": 503, "error": 500, "bad_request": 400}[fault], f"{fault} {echo}")
        if fault == "html":
            return web.Response(text="<html><body>Welcome to the gateway</body></html>", content_type="text/html")
        if fault == "hang":
            await asyncio.sleep(HANG_SECONDS)
        if fault == "reset" and request.transport is not None:
            request.transport.abort()
            return web.Response()
        return None

    def _body(self, asked: dict[str, Any], said: str, finish: str, fault: str | None, echo: str) -> dict[str, Any]:
        said += echo
        if fault == "surrogate":
            said += "\ud83d"
        if fault == "filter":
            said, finish = said[: len(said) // 2], "content_filter"
        message: dict[str, Any] = {"role": "assistant", "content": said}
        mode = self.option("reasoning", "text")
        if mode == "prefilled":
            message["content"] = said.removeprefix("<think>").lstrip("\n")
        elif mode != "text" and said.startswith("<think>"):
            thought, closed, answer = said.removeprefix("<think>").partition("</think>")
            message |= {"content": answer.strip() if closed else None, mode: thought.strip()}
        if fault == "null_content":
            message = {"role": "assistant", "content": None}
        choice: dict[str, Any] = {"index": 0, "finish_reason": None if fault == "no_finish" else finish}
        choice |= {"message": message} if "messages" in asked else {"text": said}
        limit = asked.get("max_tokens") or asked.get("max_completion_tokens") or 4096
        count = limit if fault == "at_limit" or finish == "length" else min(len(said), limit - 1)
        counts = {"prompt_tokens": 7, "completion_tokens": count, "total_tokens": 7 + count}
        usage = {} if fault == "no_usage" else {"usage": counts}
        choices = [] if fault == "no_choices" else [choice]
        return {"id": "mock", "object": "chat.completion", "model": asked["model"], "choices": choices, **usage}


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response({"error": {"message": message, "code": status}}, status=status, headers=headers)


async def _send(request: web.Request, body: dict[str, Any], fault: str | None) -> web.StreamResponse:
    raw = json.dumps(body, ensure_ascii=fault == "surrogate").encode()
    if fault == "garbage":
        raw = raw[: len(raw) // 2]
    elif fault == "half_utf8":
        raw = raw.replace("。".encode(), "。".encode()[:2])
    elif fault == "half_body":
        response = web.StreamResponse(headers={"Content-Length": str(len(raw))})
        await response.prepare(request)
        await response.write(raw[: len(raw) // 2])
        assert request.transport is not None
        request.transport.close()
        return response
    return web.Response(body=raw, content_type="application/json")


def _replies(path: str | None, function: str | None) -> Any:
    if path:
        return _script(Path(path))
    found: Any = truth
    if function:
        module, _, name = function.partition(":")
        found = getattr(importlib.import_module(module), name)

    def reply(messages: list[dict[str, str]]) -> tuple[str, str]:
        said = found(messages) if function else found(messages[-1]["content"])
        return (said, "stop") if isinstance(said, str) else said

    return reply


def _script(path: Path) -> Any:
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
    exact = {row["prompt"]: row for row in rows if "prompt" in row}
    patterns = [(re.compile(row.get("match", "")), row) for row in rows if "prompt" not in row]

    def reply(messages: list[dict[str, str]]) -> tuple[str, str]:
        conversation = "\n".join(message["content"] for message in messages)
        row = exact.get(messages[-1]["content"]) or next(
            (row for pattern, row in patterns if pattern.search(conversation)), {"raw": "no reply is scripted"}
        )
        return row["raw"], row.get("finish", "stop")

    return reply


def main() -> None:
    """Serve until killed; the port is the first line of output."""
    mock = _Mock(json.loads(sys.argv[1]))
    if mock.option("watch_stdin"):
        threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    names = [mock.option("model", "mock")]

    async def models(request: web.Request) -> web.StreamResponse:
        if mock.option("key") and request.headers.get("Authorization") != f"Bearer {mock.config['key']}":
            return _error(401, "Incorrect API key provided")
        return web.json_response({"object": "list", "data": [{"id": name} for name in names]})

    async def stats(_: web.Request) -> web.StreamResponse:
        shown = ("requests", "replies", "peak", "unauthorized", "faults")
        return web.json_response({name: getattr(mock, name) for name in shown} | {"seconds": mock.ended - mock.started})

    async def serve() -> None:
        app = web.Application(client_max_size=1 << 24)
        app.router.add_post("/v1/chat/completions", mock.answer)
        app.router.add_post("/v1/completions", mock.answer)
        app.router.add_get("/v1/models", models)
        app.router.add_get("/stats", stats)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", mock.option("port"), backlog=4096, reuse_address=True)
        await site.start()
        assert site._server is not None
        print(site._server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Event().wait()

    asyncio.run(serve())


if __name__ == "__main__":
    main()
