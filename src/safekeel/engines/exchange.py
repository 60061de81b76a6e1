"""One request to an OpenAI-compatible server, and what became of it.

A status is the row's fault, the server's load, the server's trouble, or the user's mistake, and each goes another way:

    200                          Answered   the row; where the reply is not whole, Failed
    429, 503, 529                Refused    sent again, after Retry-After; the endpoint gets fewer at a time
    408, 409, 425, other 5xx,
    no or half a reply           Failed     sent again, within a bound
    401, 402; on the first
    requests 3xx, 403, 404, 405  EngineError for the whole run: the key, the balance, the URL or the model name
    any other 4xx                Rejected   an error row at once

Replies are not streamed. A streamed reply wakes the client once per token, at about 50 µs of CPU (measured:
docs/results/endpoint), so 2,000 requests at 30 tokens a second would need three cores. The price is that the idle
timeout has to be longer than the slowest generation; servers that send blank lines meanwhile (DeepSeek's API) keep it
alive.
"""

from __future__ import annotations

import asyncio
import json
import socket
from dataclasses import dataclass
from typing import Any

import aiohttp

from safekeel.engines.endpoint import Endpoint, retry_after
from safekeel.engines.endpoint_reply import Asked, MalformedReplyError, cut, error_message, read_reply
from safekeel.errors import EngineError, UsageError, nearest, shown
from safekeel.records import Completion

BUSY = frozenset({429, 503, 529})  # 529: Anthropic's and some gateways' "overloaded"
TEMPORARY_4XX = frozenset({408, 409, 425})
CONNECT_SECONDS = 30.0
LOOK_SECONDS = 10.0  # to list the models, when something is wrong
KEEP_ALIVE_SECONDS = 4.0  # below the 5 s after which uvicorn (vLLM, SGLang) closes an idle connection
_ENCODE = json.JSONEncoder(ensure_ascii=False).encode
SECRET_LENGTH = 16
"""Shorter keys are placeholders such as EMPTY, which a model may well write."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A reply with status 200, not yet read (`Exchange.read`); `seconds` since it was asked for."""

    body: bytes
    seconds: float


@dataclass(frozen=True, slots=True)
class Answered:
    """A whole reply."""

    row: Completion


@dataclass(frozen=True, slots=True)
class Refused:
    """Turned away for load; `wait` = seconds the server asks for."""

    wait: float
    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """No usable reply; asking again may help. `unreachable` = there was not even a connection."""

    reason: str
    unreachable: bool = False


@dataclass(frozen=True, slots=True)
class Rejected:
    """This request will never be answered."""

    reason: str


Outcome = Answered | Refused | Failed | Rejected


@dataclass(frozen=True, slots=True)
class Request:
    """`path` below the base URL, the JSON `payload`, and what the reply is read against."""

    path: str
    payload: dict[str, Any]
    asked: Asked


class Exchange:
    """Sends requests over one connection pool; an asynchronous context manager."""

    def __init__(self, model: str, key: str | None, key_variable: str | None, timeout: float) -> None:
        """
        Args:
            key_variable: name of the environment variable of `key`, for messages.
            timeout: seconds without a single byte after which a request is given up.
        """
        self._model, self._key, self._key_variable, self._timeout = model, key, key_variable, timeout
        self._secret = key.encode() if key and len(key) >= SECRET_LENGTH else None

    async def __aenter__(self) -> Exchange:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        self._session = aiohttp.ClientSession(
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=self._timeout),
            connector=aiohttp.TCPConnector(  # the dispatcher is the only limit
                limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS, ttl_dns_cache=300, socket_factory=_socket
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._session.close()

    async def ask(self, endpoint: Endpoint, request: Request) -> Arrived | Refused | Failed | Rejected:
        """Send one request and wait for the whole reply.

        Raises:
            EngineError: no request of this run can succeed.
        """
        body = _ENCODE(request.payload).encode()
        clock = asyncio.get_running_loop().time
        started = clock()
        try:
            async with self._session.post(endpoint.url(request.path), data=body, allow_redirects=False) as response:
                reply = await response.read()
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            return Failed(self._clean(f"no connection to {endpoint.base_url} ({error})"), unreachable=True)
        except TimeoutError:
            return Failed(f"no byte from {endpoint.base_url} for {self._timeout:g} s")
        except (aiohttp.ClientError, OSError) as error:
            return Failed(self._clean(f"broken connection to {endpoint.base_url} ({type(error).__name__}: {error})"))
        if response.status == 200:
            return Arrived(reply, clock() - started)
        return await self._refusal(endpoint, response, reply)

    def read(self, arrived: Arrived, asked: Asked) -> Answered | Failed:
        """The row of a reply, if it is whole."""
        body = arrived.body
        if self._secret and self._secret in body:  # a server that echoes its request headers into a text
            body = body.replace(self._secret, b"[key]")
        try:
            return Answered(read_reply(body, asked, arrived.seconds))
        except MalformedReplyError as error:
            return Failed(self._clean(str(error)))

    async def _refusal(
        self, endpoint: Endpoint, response: aiohttp.ClientResponse, reply: bytes
    ) -> Refused | Failed | Rejected:
        status = response.status
        reason = f"HTTP {status}: {error_message(reply, self._key) or response.reason or 'no message'}"
        if status in BUSY:
            return Refused(retry_after(response.headers.get("Retry-After")), reason)
        if status >= 500 or status < 300 or status in TEMPORARY_4XX:
            return Failed(reason)
        if status in (401, 402):
            raise self._stop(endpoint, reason, self._about_the_key(status))
        if not endpoint.has_answered and (status < 400 or status in (403, 404, 405)):
            await self._look_closer(endpoint, status, reason)
        return Rejected(reason)

    async def _look_closer(self, endpoint: Endpoint, status: int, reason: str) -> None:
        """Before the first row, is it the prompt (a filter before the server may say 403), or a mistake of the user?"""
        if status == 403:
            if not endpoint.accepts_key:
                endpoint.accepts_key = await self._models(endpoint) is not None
            if not endpoint.accepts_key:
                raise self._stop(endpoint, reason, self._about_the_key(status))
            return
        models = await self._models(endpoint) if status == 404 else None
        if models and self._model not in models:
            listed = ", ".join(models[:5])
            raise self._stop(
                endpoint, reason, f"It serves {listed}, not {self._model!r}.{nearest(self._model, models)}"
            )
        raise self._stop(
            endpoint, reason, f"Correct --base-url (it mostly ends in /v1) or the model name {self._model!r}."
        )

    async def _models(self, endpoint: Endpoint) -> list[str] | None:
        """Names the endpoint lists; None where it does not let us see them."""
        try:
            async with (
                asyncio.timeout(LOOK_SECONDS),
                self._session.get(endpoint.url("models"), allow_redirects=False) as response,
            ):
                if response.status != 200:
                    return None
                listed = json.loads(await response.read())["data"]
                return [str(model["id"]) for model in listed]
        except (aiohttp.ClientError, OSError, ValueError, KeyError, TypeError):
            return None

    def _about_the_key(self, status: int) -> str:
        if status == 402:
            return "The account has no balance; top it up and run the same command again."
        if not self._key:
            return "No key was sent; put it into an environment variable and name that with --api-key-env."
        return f"The key in the environment variable {self._key_variable} is not accepted here; correct it."

    def _stop(self, endpoint: Endpoint, reason: str, what_to_do: str) -> EngineError:
        return EngineError(
            self._clean(f"api:{self._model} at {endpoint.base_url}: {reason}. {what_to_do}", limit=False)
        )

    def _clean(self, text: str, limit: bool = True) -> str:
        return cut(text, self._key) if limit else text.replace(self._key or "\0", "[key]")


def valid_key(key: str, variable: str) -> str:
    """A key as a header can carry it, without surrounding blanks (a file's last newline).

    Raises:
        UsageError: empty, or with characters no header may hold. The key is not shown.
    """
    bare = key.strip()
    if not bare or not bare.isascii() or not bare.isprintable() or " " in bare:
        raise UsageError(
            f"The environment variable {shown(variable)} holds no usable key (empty, or with blanks, control or "
            "non-ASCII characters); set it to the key alone."
        )
    return bare


def _socket(address: tuple[Any, ...]) -> socket.socket:
    """With keep-alive probes: firewalls and load balancers forget a connection that is silent for some minutes, which
    is what a long generation looks like."""
    made = socket.socket(address[0], address[1], address[2])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 60)
    return made
