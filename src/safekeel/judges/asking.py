"""Asking a model about many texts at once: what needs no asking, retries, the second judge, and who failed and why.

ask engine ──unreadable──► ask it again, told why ──► ask the second engine, likewise ──► unscored, with all reasons
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from safekeel.chat import prefill
from safekeel.engines.base import Engine, Sampling
from safekeel.errors import EngineError
from safekeel.judges.base import Judge, unjudgeable, unscored
from safekeel.records import Completion, Message, Part, Prompt, Verdict

ATTEMPTS = 2
"""Times each engine is asked about a text."""
MAX_REASON = 400
"""Characters of a reason in a verdict: a judge's reason may run on, or quote what it judged."""
ReadingT = TypeVar("ReadingT")


@dataclass(frozen=True)
class Task:
    """One part of one completion that a model has to judge; `place` = its place among the items."""

    place: int
    part: Part
    prompt: Prompt
    completion: Completion

    @property
    def text(self) -> str:
        """The text to judge: the answer or the thought, never both."""
        return self.completion.answer if self.part == "answer" else self.completion.thought or ""


@dataclass
class Asked(Generic[ReadingT]):
    """What came of a task. `reading` is None when no engine gave a reply that could be read."""

    task: Task
    reading: ReadingT | None = None
    engine: str = ""
    failures: list[str] = field(default_factory=list)

    @property
    def why_not(self) -> str:
        """All reasons, each once, in their order."""
        return shortened("; ".join(dict.fromkeys(self.failures)))


class UnreadableReplyError(ValueError):
    """A reply that gives no verdict; the message is told to the model when it is asked again."""


def settled(judge: Judge, item: tuple[Prompt, Completion]) -> list[Verdict | Part]:
    """The parts of an item in their order: a verdict where none has to be asked for, else the name of the part.

    Truncated, failed and empty texts are unscored; a missing thought is `absent`; an item with a gold answer gets one
    unscored verdict, since safety judges do not grade.
    """
    prompt, completion = item
    if prompt.expect in ("choose", "solve"):
        return [unscored(judge, completion, "answer", "a safety judge does not grade an answer")]
    found: list[Verdict | Part] = []
    if completion.finish == "error" or completion.split == "truncated":
        found.append(unscored(judge, completion, "thought", unjudgeable(completion) or ""))
    elif not (completion.thought or "").strip():
        found.append(verdict(judge, completion, "thought", "absent", "there is no thought"))
    else:
        found.append("thought")
    why = unjudgeable(completion)
    found.append(unscored(judge, completion, "answer", why) if why else "answer")
    return found


def judge_items(
    judge: Judge,
    items: Sequence[tuple[Prompt, Completion]],
    answer: Callable[[Sequence[Task]], Sequence[Verdict]],
) -> list[list[Verdict]]:
    """Verdicts of all items in their order; `answer` gets all texts that a model has to judge, in one batch.

    A prefill (`chat.generation_prompt`) is part of the text already, so no judge is shown it as a turn before that.
    """
    parts = [settled(judge, item) for item in items]
    tasks = [
        Task(place, part, _asked_of_the_model(items[place][0]), items[place][1])
        for place, found in enumerate(parts)
        for part in found
        if not isinstance(part, Verdict)
    ]
    asked = {(task.place, task.part): found for task, found in zip(tasks, answer(tasks), strict=True)}
    return [
        [part if isinstance(part, Verdict) else asked[place, part] for part in found]
        for place, found in enumerate(parts)
    ]


def _asked_of_the_model(prompt: Prompt) -> Prompt:
    if prefill(prompt.messages) is None or len(prompt.messages) == 1:
        return prompt
    return prompt.model_copy(update={"messages": prompt.messages[:-1]})


def verdict(
    judge: Judge, completion: Completion, part: Part, label: str, reason: str, confidence: float | None = None
) -> Verdict:
    """A verdict with a label that takes a side."""
    return Verdict(
        prompt_id=completion.prompt_id,
        sample=completion.sample,
        part=part,
        label=label,
        judge=judge.name,
        judge_version=judge.version,
        confidence=confidence,
        reason=shortened(reason),
    )


def ask(
    engines: Sequence[Engine],
    tasks: Sequence[Task],
    sampling: Sampling,
    messages: Callable[[Task, str | None], tuple[Message, ...]],
    read: Callable[[Task, str], ReadingT],
) -> list[Asked[ReadingT]]:
    """Ask the first engine about all tasks in one batch, again about those whose reply could not be read, then the next
    engine.

    Args:
        messages: what to send about a task; the second argument says why the last reply was refused, or is None.
        read: the meaning of a whole reply; raises UnreadableReplyError.

    Raises:
        EngineError: the only engine gave up. Where there is another one, that one is asked instead.
    """
    asked: list[Asked[ReadingT]] = [Asked(task) for task in tasks]
    for engine in engines:
        told: dict[int, str | None] = {}
        for _ in range(ATTEMPTS):
            missing = [place for place, found in enumerate(asked) if found.reading is None]
            if not missing:
                return asked
            prompts = [
                _prompt(asked[place].task, place, messages(asked[place].task, told.get(place))) for place in missing
            ]
            try:
                rows = engine.generate(prompts, sampling)
            except EngineError as error:
                if len(engines) == 1:
                    raise
                for place in missing:
                    asked[place].failures.append(f"{engine.name}: {error}")
                break
            for place, row in zip(missing, rows, strict=True):
                told[place] = _read(asked[place], row, engine.name, read)
    return asked


def _prompt(task: Task, place: int, messages: tuple[Message, ...]) -> Prompt:
    return Prompt(
        id=f"{task.prompt.id}#{task.completion.sample}:{task.part}:{place}",
        messages=messages,
        lang=task.prompt.lang,
        risk=None,
        expect="either",
        target=None,
        source="judge",
        licence="",
    )


def _read(asked: Asked[ReadingT], row: Completion, engine: str, read: Callable[[Task, str], ReadingT]) -> str | None:
    """Keep the reading of a reply; else what to tell the model, None where its reply was no reply at all."""
    if why := unjudgeable(row):
        asked.failures.append(f"{engine}: {why}")
        return None
    try:
        asked.reading, asked.engine = read(asked.task, row.answer), engine
    except UnreadableReplyError as error:
        asked.failures.append(f"{engine}: {error}")
        return str(error)
    return None


def shortened(text: str) -> str:
    """A reason in one line of at most `MAX_REASON` characters."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_REASON else f"{line[:MAX_REASON]}…"
