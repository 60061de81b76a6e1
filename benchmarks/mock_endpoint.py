"""The server of `benchmarks/endpoint.py`: answers chat completions after a fixed time, as cheaply as Python can.

A bare asyncio protocol, because it shares the machine with the client it measures: about a tenth of a web framework's
time per request. Every reply holds a hash of its prompt (`tests.endpoint_server.truth`), so a wrong one is found out.

    python benchmarks/mock_endpoint.py LATENCY_SECONDS     prints its port; GET /stats
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import resource
import sys
import time

CHUNKS = 200  # of a streamed reply: a short thought, token by token
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
PADDING = "安全" * 40  # replies of some 400 bytes


class Counters:
    """What the server saw since its start; times of the event loop's clock, CPU of this process."""

    def __init__(self) -> None:
        self.first = self.last = self.peak_at = 0.0
        self.requests = self.replies = self.in_flight = self.peak = 0
        self.cpu = time.process_time()

    def report(self) -> bytes:
        """As JSON."""
        seen = {name: getattr(self, name) for name in ("requests", "replies", "peak")}
        seconds = {"seconds": self.last - self.first, "ramp": self.peak_at - self.first}
        return json.dumps(seen | seconds | {"server_cpu": time.process_time() - self.cpu}).encode()


class Connection(asyncio.Protocol):
    """One keep-alive connection; requests on it follow one another."""

    counters = Counters()

    def __init__(self, latency: float) -> None:
        self.latency, self.buffer = latency, b""
        self.loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.buffer[:end]
        at = head.lower().find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self.buffer) < end + 4 + length:
            return
        body, self.buffer = self.buffer[end + 4 : end + 4 + length], b""
        self.request(body)

    def request(self, body: bytes) -> None:
        """A whole request has come."""
        if not body:
            self.send(Connection.counters.report())
            return
        counters, now = Connection.counters, self.loop.time()
        counters.first = counters.first or now
        counters.requests += 1
        counters.in_flight += 1
        if counters.in_flight > counters.peak:
            counters.peak, counters.peak_at = counters.in_flight, now
        asked = json.loads(body)
        if asked.get("stream"):
            self.transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            self.loop.call_later(self.latency / CHUNKS, self.stream, CHUNKS)
        else:
            self.loop.call_later(self.latency, self.reply, asked["messages"][-1]["content"])

    def reply(self, text: str) -> None:
        """Answer a prompt."""
        mark = hashlib.sha256(text.encode()).hexdigest()[:16]
        content = f"<think>\\n想一想 {mark} {PADDING}\\n</think>\\n\\n答案是 {mark}。"
        choice = f'{{"index":0,"finish_reason":"stop","message":{{"role":"assistant","content":"{content}"}}}}'
        self.send(
            f'{{"id":"mock","object":"chat.completion","created":1,"model":"mock","choices":[{choice}],'
            '"usage":{"prompt_tokens":20,"completion_tokens":120,"total_tokens":140}}'.encode()
        )
        self.done()

    def stream(self, left: int) -> None:
        """Send one token, and the next one a little later."""
        event = b'data: {"id":"mock","choices":[{"index":0,"delta":{"content":"token "},"finish_reason":null}]}\n\n'
        self.transport.write(b"%x\r\n%b\r\n" % (len(event), event))
        if left > 1:
            self.loop.call_later(self.latency / CHUNKS, self.stream, left - 1)
        else:
            self.transport.write(b"0\r\n\r\n")
            self.done()

    def done(self) -> None:
        """Count a reply."""
        counters = Connection.counters
        counters.replies += 1
        counters.in_flight -= 1
        counters.last = self.loop.time()

    def send(self, payload: bytes) -> None:
        """One reply with status 200."""
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(payload)
        self.transport.write(head + payload)


async def serve(latency: float) -> None:
    """Until killed."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(latency), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1])))
