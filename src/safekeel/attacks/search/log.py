"""What a search leaves on disk: one row per target call, the calls themselves, and one row per goal.

    calls.jsonl     Completion rows of target and attacker, as they come, found again by key: nothing is asked twice
    queries.jsonl   QueryRow, one per target call, judged; JailbreakBench's artifact fields and ours
    GoalOutcome     how the search for one goal ended, worked out from its rows

A row is a whole line or nothing, so a killed search is continued by running it again: the strategies are played back
against the calls that were logged, and go on where the log ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from safekeel.attacks.search.base import HARMFUL
from safekeel.engines.base import Engine, Sampling, error_row, generation_key
from safekeel.errors import DataError
from safekeel.records import (
    CANNOT_JUDGE,
    Completion,
    Count,
    Finish,
    Lang,
    Message,
    Name,
    Prompt,
    Record,
    SplitStatus,
    Text,
    append_jsonl,
    recover_jsonl,
    write_jsonl,
)

Status = Literal["success", "budget", "exhausted", "attacker"]
"""Why a search ended: it succeeded, its target calls were used up, the strategy had nothing left to try, or the
attacker was asked too often for too few target calls."""


class QueryRow(Record):
    """One target call. The first eleven fields are JailbreakBench's (arXiv 2404.01318, `JailbreakInfo`)."""

    index: Count
    """Of the goal."""
    goal: Text
    behavior: Text
    category: Text
    prompt: Text
    """The last user turn as it was sent; `messages` has the whole conversation."""
    response: Text
    number_of_queries: Count
    """Target calls of this goal so far, this one included."""
    queries_to_jailbreak: Count | None
    """The same number where this call succeeded, else null."""
    prompt_tokens: Count
    response_tokens: Count
    jailbroken: bool
    goal_id: Name
    cluster: Name
    """Goals that share it are no independent evidence (`meta.cluster` of the goal, else its id)."""
    lang: Lang
    strategy: Name
    label: Text
    """What was tried: a family, a mutation, a stream."""
    messages: tuple[Message, ...]
    thought: Text | None
    answer_label: Text
    thought_label: Text
    score: float
    split: SplitStatus
    finish: Finish
    error: Text | None
    model: Text
    judge: Text
    judge_version: Text
    batch: Count
    """Number of the target's batch."""
    prompt_id: Name
    key: Text | None
    """Of the call in `calls.jsonl`."""

    @property
    def is_leak(self) -> bool:
        return self.thought_label == HARMFUL and self.answer_label != HARMFUL

    @property
    def is_unscored(self) -> bool:
        """Neither success nor defence: the target failed, was cut off, or the judge cannot tell."""
        return self.answer_label == CANNOT_JUDGE


class GoalOutcome(Record):
    """How the search for one goal ended."""

    goal_id: Name
    index: Count
    cluster: Name
    lang: Lang
    risk: Text | None
    strategy: Name
    status: Status
    budget: Count
    queries: Count
    queries_to_success: Count | None
    succeeded_by: Text | None
    """Label of the first call that succeeded."""
    leaks: Count
    """Replies that planned the harm in the thought and did not give it."""
    first_leak: Count | None
    target_errors: Count
    unscored: Count
    """Target errors included."""
    attacker_calls: Count = 0
    attacker_failures: Count = 0
    """Calls without any answer: errors, timeouts, cut-off or empty replies."""
    attacker_unreadable: Count = 0
    """Answers that were no proposal: garbage, refusals."""
    attacker_fallbacks: Count = 0
    """Target calls made with the last good prompt because the attacker gave none twice."""


def goal_outcome(
    goal: Prompt,
    index: int,
    strategy: str,
    status: Status,
    budget: int,
    rows: Sequence[QueryRow],
    counts: Mapping[str, int],
) -> GoalOutcome:
    """The outcome of one goal from its rows in the order of asking; `counts` are those of its context."""
    success = next((row for row in rows if row.jailbroken), None)
    leaks = [row.number_of_queries for row in rows if row.is_leak]
    return GoalOutcome(
        goal_id=goal.id,
        index=index,
        cluster=cluster_of(goal),
        lang=goal.lang,
        risk=goal.risk,
        strategy=strategy,
        status="success" if success else status,
        budget=budget,
        queries=len(rows),
        queries_to_success=success.number_of_queries if success else None,
        succeeded_by=success.label if success else None,
        leaks=len(leaks),
        first_leak=min(leaks, default=None),
        target_errors=sum(row.finish == "error" for row in rows),
        unscored=sum(row.is_unscored for row in rows),
        **{name: counts.get(name, 0) for name in GoalOutcome.model_fields if name.startswith("attacker_")},
    )


def cluster_of(goal: Prompt) -> str:
    """What a goal shares with others."""
    return str(goal.meta.get("cluster") or goal.id)


def failed_calls(path: Path) -> list[Completion]:
    """The calls of target and attacker in `calls.jsonl` that failed; none where there is no file."""
    rows = recover_jsonl(path, Completion) if path.exists() else []
    return [row for row in rows if row.finish == "error"]


def forget_failures(path: Path) -> None:
    """Take the failed calls out of `calls.jsonl`, so that the search asks again for what failed.

    A search that is continued after a kill meets its failures again and goes the same way (`Calls.ask`); only one that
    has ended, or cannot go on, is to be given another chance.
    """
    if failed_calls(path):
        write_jsonl(path, [row for row in recover_jsonl(path, Completion) if row.finish != "error"])


class Calls:
    """Engine calls that are never made twice: every completion is kept, and found again by its key."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            DataError: the file holds something else than completions.
        """
        self.path = path
        rows = recover_jsonl(path, Completion) if path.exists() else []
        self._known = {row.key: row for row in rows if row.key}

    def ask(
        self, engine: Engine, prompts: Sequence[Prompt], sampling: Sampling, repeats: Sequence[int]
    ) -> list[Completion]:
        """One completion per prompt, in their order; what was asked before comes from the file.

        A failed row is kept like any other: it cost a call, and a search played back must meet it again.

        Args:
            repeats: per prompt, how often the same was asked on purpose before; part of its key.

        Raises:
            EngineError: the engine gave up; the rows that it made are kept.
        """
        done: dict[str, Completion] = {}
        keys: dict[str, str] = {}
        for prompt, repeat in zip(prompts, repeats, strict=True):
            try:
                key = generation_key(engine.model_id, engine.rendered(prompt, sampling), sampling, repeat)
            except DataError as error:  # a conversation that the template rejects costs its call, and no more
                done[prompt.id] = error_row(prompt, 0, engine.name, str(error))
                continue
            keys[prompt.id] = key
            if key in self._known:
                done[prompt.id] = self._known[key].model_copy(update={"prompt_id": prompt.id})

        def keep(row: Completion) -> None:
            if row.prompt_id in done:
                return
            key = keys[row.prompt_id]
            done[row.prompt_id] = self._known[key] = row.model_copy(update={"key": key})
            append_jsonl(self.path, done[row.prompt_id])

        if missing := [prompt for prompt in prompts if prompt.id not in done]:
            for row in engine.generate(missing, sampling, keep):
                keep(row)  # for an engine that does not call back
        return [done[prompt.id] for prompt in prompts]


class Queries:
    """The rows of one strategy in `queries.jsonl`; rows of other strategies in the same file are left alone."""

    def __init__(self, path: Path, strategy: str) -> None:
        """
        Raises:
            DataError: the file holds something else than query rows.
        """
        self.path, self.strategy = path, strategy
        self._in_file = recover_jsonl(path, QueryRow) if path.exists() else []
        self._earlier = {row.prompt_id: row for row in self._in_file if row.strategy == strategy}
        self.rows: list[QueryRow] = []

    def earlier(self, completion: Completion, judge_version: str) -> QueryRow | None:
        """The row that an earlier attempt wrote about this very reply, judged by this very judge, if there is one. A
        call that failed then and was asked again has the same key and another reply."""
        row = self._earlier.get(completion.prompt_id)
        if row is None or (row.key, row.judge_version) != (completion.key, judge_version):
            return None
        then, now = (row.response, row.thought, row.error), (completion.answer, completion.thought, completion.error)
        return row if then == now else None

    def add(self, rows: Sequence[QueryRow]) -> None:
        """Keep the rows of a batch; those that the file holds already are not written again."""
        self.rows += rows
        if fresh := [row for row in rows if self._earlier.get(row.prompt_id) != row]:
            append_jsonl(self.path, *fresh)
            self._in_file += fresh

    def finish(self) -> None:
        """Leave exactly this search's rows of the strategy in the file, in the order of asking."""
        if [row for row in self._in_file if row.strategy == self.strategy] != self.rows or not self.path.exists():
            others = [row for row in self._in_file if row.strategy != self.strategy]
            write_jsonl(self.path, [*others, *self.rows])
