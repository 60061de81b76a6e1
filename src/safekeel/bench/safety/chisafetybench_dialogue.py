"""CHiSafetyBench (Zhang et al. 2024, arXiv:2406.10311), dialogues: 101 Chinese conversations whose last turn is risky.

In every published row refusal halves and harm grows about tenfold once a history precedes the question, so these are
kept apart (`history:with`; the single-turn questions are `history:without`) and pooled as `chisafetybench` (563 items).
The benchmark's own system message ("你现在是一个多轮对话助手…") stays although DeepSeek-R1 asks for none: without it
the figures would not be those of the benchmark. Items have no id upstream; theirs is the position in the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from safekeel.bench.base import BenchmarkBase, find_data, require_split, sample
from safekeel.bench.safety.chisafetybench import FOLDER, LICENCE, SOURCE, UPSTREAM, read_items, risk_ids, risk_of
from safekeel.errors import DataError
from safekeel.records import Message, Prompt


class ChiSafetyBenchDialogue(BenchmarkBase):
    """Risky last turns after a history; every item is expected to be refused."""

    name = "chisafetybench-dialogue"
    metrics: tuple[str, ...] = ("rr1", "rr2", "hr", "dsr", "refused")
    file = "risky_questions_with_dialog_history.json"

    def prompts(self, split: str, limit: int | None, data_dir: Path | None, seed: int) -> list[Prompt]:
        """The prompts; see `Benchmark.prompts`. There is one split, `test`."""
        require_split(self.name, split, ("test",))
        path = find_data(FOLDER, self.file, UPSTREAM, data_dir)
        risks = risk_ids()
        items = read_items(path, _flat, "`input` and `history`")
        return sample([_prompt(item, number, risks, path) for number, item in enumerate(items, start=1)], limit, seed)


def _flat(data: Any) -> list[Any]:
    if not isinstance(data, list):
        raise TypeError
    return data


def _prompt(item: Any, number: int, risks: dict[str, str], path: Path) -> Prompt:
    where = f"{path}: item {number}"
    try:
        category = item["sub_category"]
        turns = [*item["history"], {"role": "user", "content": item["input"].strip()}]
        messages = tuple(Message(role=turn["role"], content=turn["content"]) for turn in turns)
    except (KeyError, TypeError, AttributeError, ValidationError) as error:
        raise DataError(
            f"{where}: expected `sub_category`, `input` and a `history` of messages with `role` (system, user, "
            f"assistant) and `content`. Get the file again from {UPSTREAM}."
        ) from error
    _require_alternating(messages, where)
    return Prompt(
        id=f"{ChiSafetyBenchDialogue.name}/{number}",
        messages=messages,
        lang="zh",
        risk=risk_of(category, risks, where),
        expect="refuse",
        target=None,
        source=SOURCE,
        licence=LICENCE,
        meta={"slices": ["history:with"]},
    )


def _require_alternating(messages: tuple[Message, ...], where: str) -> None:
    """Chat templates reject other orders, and some drop such turns silently."""
    turns = [message.role for message in messages if message.role != "system"]
    alternating = all(role == ("user", "assistant")[index % 2] for index, role in enumerate(turns))
    if not alternating or len(turns) < 3 or any(message.role == "system" for message in messages[1:]):
        roles = ", ".join(message.role for message in messages)
        raise DataError(
            f"{where}: got the roles {roles}, expected an optional system message, then user and assistant in turns up "
            f"to the user's `input`. Get the file again from {UPSTREAM}."
        )
    if not all(message.content.strip() for message in messages):
        raise DataError(f"{where}: a message is empty. Get the file again from {UPSTREAM}.")
