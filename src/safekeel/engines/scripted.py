"""A fake model for tests and documentation: replies from a JSONL file, without torch.

    {"id": "q1", "raw": "<think>plain</think>4"}                        this prompt
    {"match": "bomb|炸弹", "raw": "<think>risky</think>I cannot help."}   a regex searched in the messages
    {"raw": "<think>still think", "finish": "length"}                   anything else, cut off

The first row that fits wins; where both `id` and `match` are given, both must fit. After a prefill (a last message of
the assistant's) a reply is what the model adds to it.
"""

from __future__ import annotations

import heapq
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import field_validator

from safekeel.chat import continued, prefill, split_completion
from safekeel.engines.base import OnCompletion, Sampling, error_row
from safekeel.files import sha256_file
from safekeel.records import Completion, Message, Prompt, Record, Text, read_jsonl


class Reply(Record):
    """One line of a script."""

    match: Text | None = None
    id: Text | None = None
    raw: Text
    finish: Literal["stop", "length"] = "stop"

    @field_validator("match")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"got {pattern!r}, expected a regular expression ({error}).") from error
        return pattern

    def fits(self, prompt: Prompt) -> bool:
        """Whether this is a reply to the prompt."""
        if self.id is not None and self.id != prompt.id:
            return False
        return self.match is None or re.search(self.match, _conversation(prompt.messages)) is not None


class ScriptedEngine:
    """Says what its file says; the same to every sample, whatever the sampling. Tokens are counted as characters."""

    def __init__(self, path: str | Path) -> None:
        """Read the script.

        Raises:
            DataError: no such file, or a malformed row (with its line).
        """
        self.replies = read_jsonl(Path(path), Reply)
        self.name = f"scripted:{Path(path).name}"
        self.model_id = sha256_file(Path(path))
        self._for_any = [number for number, reply in enumerate(self.replies) if reply.id is None]
        self._for_id: dict[str, list[int]] = {}
        for number, reply in enumerate(self.replies):
            if reply.id is not None:
                self._for_id.setdefault(reply.id, []).append(number)

    def rendered(self, prompt: Prompt, sampling: Sampling) -> str:
        """See `Engine.rendered`; replies may be by prompt id, so it is part of what is sent."""
        return json.dumps([prompt.id, *(message.model_dump() for message in prompt.messages)], ensure_ascii=False)

    def generate(
        self, prompts: list[Prompt], sampling: Sampling, on_completion: OnCompletion | None = None
    ) -> list[Completion]:
        """See `Engine.generate`; a prompt without a reply gives an error row."""
        rows = []
        for prompt in prompts:
            for sample in range(sampling.num_samples):
                row = self._complete(prompt, sample, sampling)
                if on_completion is not None:
                    on_completion(row)
                rows.append(row)
        return rows

    def _complete(self, prompt: Prompt, sample: int, sampling: Sampling) -> Completion:
        numbered = heapq.merge(self._for_id.get(prompt.id, []), self._for_any)
        reply = next((self.replies[number] for number in numbered if self.replies[number].fits(prompt)), None)
        if reply is None:
            reason = f"the script has no reply for prompt {prompt.id!r}; add a row, or one without `id` and `match`."
            return error_row(prompt, sample, self.name, reason)
        raw, inside, answer_only = reply.raw, False, sampling.think == "none"
        if (content := prefill(prompt.messages)) is not None:
            _, state, said = continued("", sampling.think, content)
            raw, inside, answer_only = said + raw, state == "open", state == "closed"
        split = split_completion(raw, reply.finish, inside, answer_only)
        return Completion(
            prompt_id=prompt.id,
            sample=sample,
            model=self.name,
            raw=raw,
            thought=split.thought,
            answer=split.answer,
            split=split.status,
            finish=reply.finish,
            num_prompt_tokens=len(_conversation(prompt.messages)),
            num_completion_tokens=len(reply.raw),
            seconds=0.0,
        )


def _conversation(messages: Sequence[Message]) -> str:
    return "\n".join(message.content for message in messages)
