"""What an OpenAI-compatible server answered: read into a row, or into the reason why it is none.

A row is made only from a reply that is whole: valid UTF-8, valid JSON, one choice, a text, and a reason why it ended.
Whatever else comes is sent again, and in the end an error row, because text of unknown origin or extent would be
scored as if it were the model's answer.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from safekeel.chat import CLOSE, OPEN, Split, split_completion
from safekeel.errors import shown
from safekeel.records import Completion, Finish, Prompt

MAX_MESSAGE = 300
"""Characters of a server's error message in a row or an error."""
_REQUEST = frozenset({"input", "body", "ctx", "messages", "prompt", "request", "request_body"})
"""Fields in which servers send back what they were sent: pydantic's and FastAPI's 422, gateways."""
_FINISHED: dict[str, Finish] = {
    "stop": "stop",
    "eos_token": "stop",  # text-generation-inference
    "stop_sequence": "stop",
    "end_turn": "stop",  # gateways to other vendors
    "length": "length",
    "max_tokens": "length",
}
_FILTERED = frozenset({"content_filter", "safety"})
_TEMPORARY = frozenset({"abort", "error", "insufficient_system_resource"})  # vLLM and SGLang; DeepSeek's API


class MalformedReplyError(Exception):
    """The reply cannot be used; asking again may help."""


class Asked(NamedTuple):
    """What a reply is read against."""

    prompt: Prompt
    sample: int
    model: str
    max_tokens: int
    prefilled_think: bool = False
    answer_only: bool = False
    said: str = ""
    """A prefill at the end of the prompt of `/completions`: part of what the model said."""


class _Said(NamedTuple):
    """The text of a reply. `reasoning` is None where the server leaves the thought in the text."""

    reasoning: str | None
    content: str


def read_reply(body: bytes, asked: Asked, seconds: float) -> Completion:
    """The row of a reply with status 200, from `/chat/completions` or `/completions`.

    A text that a filter of the server cut off gives an error row: it is not the model's answer, least of all its
    refusal. Tokens are 0 where the server does not count them.

    Raises:
        MalformedReplyError: not whole, as above; says what came.
    """
    reply = _parsed(body)
    choices = reply.get("choices")
    if not (isinstance(choices, list) and choices and isinstance(choices[0], dict)):
        raise MalformedReplyError(f"the reply has no choice: choices is {shown(choices)}")
    num_prompt, num_completion = _usage(reply)
    reason = choices[0].get("finish_reason")
    said = _said(choices[0], asked.said)
    finish = _finish(reason, num_completion, asked.max_tokens)
    split = Split(None, "", "truncated") if finish == "error" else _split(said, finish, asked)
    return Completion(
        prompt_id=asked.prompt.id,
        sample=asked.sample,
        model=asked.model,
        raw=_raw(said, finish),
        thought=split.thought,
        answer=split.answer,
        split=split.status,
        finish=finish,
        num_prompt_tokens=num_prompt,
        num_completion_tokens=num_completion,
        seconds=seconds,
        error=f"a filter of the endpoint stopped the text (finish_reason {reason!r})" if finish == "error" else None,
    )


def error_message(body: bytes, key: str | None) -> str:
    """A server's own words about a failure, in one line, cut to `MAX_MESSAGE`, without the key and the request that it
    may echo: messages reach terminals, requests may be harmful."""
    text = body.decode("utf-8", "replace")
    try:
        found: Any = _without_request(json.loads(text))
        for name in ("error", "message"):
            found = found.get(name, found) if isinstance(found, dict) else found
        text = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
    except ValueError:
        pass  # plain text or a gateway's page
    return cut(text, key)


def _without_request(found: Any) -> Any:
    if isinstance(found, dict):
        return {name: _without_request(value) for name, value in found.items() if name not in _REQUEST}
    return [_without_request(value) for value in found] if isinstance(found, list) else found


def cut(text: str, key: str | None) -> str:
    """A text as it may appear in a message: without the key, in one line, at most `MAX_MESSAGE` characters."""
    line = " ".join((text.replace(key, "[key]") if key else text).split())
    return line if len(line) <= MAX_MESSAGE else f"{line[:MAX_MESSAGE]}…"


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        reply = json.loads(body.decode())  # json.loads of bytes would let half a surrogate pair pass
    except UnicodeDecodeError as error:
        raise MalformedReplyError(f"the reply is not UTF-8 (byte {error.start} of {len(body)})") from error
    except (ValueError, RecursionError) as error:
        raise MalformedReplyError(f"the reply is not JSON: {shown(body[:60].decode('utf-8', 'replace'))}") from error
    if not isinstance(reply, dict):
        raise MalformedReplyError(f"the reply is no JSON object: {shown(reply)}")
    return reply


def _usage(reply: dict[str, Any]) -> tuple[int, int]:
    usage = reply.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    return _count(counts.get("prompt_tokens")), _count(counts.get("completion_tokens"))


def _count(value: object) -> int:
    return value if isinstance(value, int) and value >= 0 else 0


def _said(choice: dict[str, Any], prefill: str) -> _Said:
    message = choice.get("message")
    if not isinstance(message, dict):
        if isinstance(choice.get("text"), str):  # /completions
            return _Said(None, prefill + choice["text"])
        raise MalformedReplyError(f"the reply has no text: message is {shown(message)}")
    # vLLM renamed reasoning_content to reasoning in 2025; servers of both kinds are in use, and some send both.
    reasoning = message.get("reasoning_content") or message.get("reasoning") or None
    content = message.get("content")
    if content is None:
        content = message.get("refusal")  # OpenAI's place for the model's own refusal
    if content is None and reasoning is not None:
        content = ""
    if not isinstance(content, str) or not isinstance(reasoning, str | None):
        raise MalformedReplyError(f"the reply has no text: content is {shown(content)}, reasoning {shown(reasoning)}")
    return _Said(reasoning, content)


def _finish(reason: object, num_completion_tokens: int, max_tokens: int) -> Finish:
    """Some servers say `stop` at the token limit; NeMo Evaluator relabels it so too."""
    name = reason if isinstance(reason, str) else ""
    if name in _FILTERED:
        return "error"
    if name not in _FINISHED:
        what = "was interrupted" if name in _TEMPORARY else "does not say how it ended"
        raise MalformedReplyError(f"the reply {what}: finish_reason is {shown(reason)}")
    return "length" if num_completion_tokens >= max_tokens else _FINISHED[name]


def _split(said: _Said, finish: Finish, asked: Asked) -> Split:
    if said.reasoning is None:
        return split_completion(said.content, finish, asked.prefilled_think, asked.answer_only)
    thought = said.reasoning.strip()
    if not said.content.strip():
        return Split(thought, "", "truncated" if finish == "length" else "empty_answer")
    inner = split_completion(said.content, finish, prefilled_think=False, answer_only=True)
    if inner.thought is None:
        return Split(thought, inner.answer, "closed")
    status = "multiple" if inner.status in ("closed", "prefilled") else inner.status
    return Split(f"{thought}\n{inner.thought}", inner.answer, status)


def _raw(said: _Said, finish: Finish) -> str:
    """The text as the model wrote it: servers that part the thought from the answer drop the tags."""
    if said.reasoning is None:
        return said.content
    if not said.content and finish == "length":
        return f"{OPEN}\n{said.reasoning}"
    return f"{OPEN}\n{said.reasoning}\n{CLOSE}\n\n{said.content}"
