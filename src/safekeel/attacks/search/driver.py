"""Runs one strategy against many goals at once, so that the target's batch is always full.

    every goal's generator ──asks──► queue ──batch of any goals' conversations──► target ──► judge ──replies──► goal

The queue is first in, first out: all goals advance evenly, a batch takes whatever waits, and nobody waits for the
slowest goal. The attacker is asked while fewer conversations wait than the target's batch holds. Batches are formed
from the replies alone, so a search that is run again after a kill forms the same ones and finds them answered
(`log.Calls`).
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from safekeel.attacks.base import AttackFamily
from safekeel.attacks.search.base import AskTarget, Context, Reply, Strategy
from safekeel.attacks.search.goal_run import GoalRun
from safekeel.attacks.search.judging import Answered, judged
from safekeel.attacks.search.log import Calls, GoalOutcome, Queries, QueryRow, goal_outcome
from safekeel.attacks.search.settings import ATTACKER_SLACK, SearchConfig, batch_size_of
from safekeel.attacks.search.waiting import Ask, Waiting
from safekeel.engines.base import Engine, error_row
from safekeel.errors import DataError, EngineError, UsageError
from safekeel.judges.base import Judge
from safekeel.progress import Progress
from safekeel.records import Attack, Prompt

CALLS, QUERIES = "calls.jsonl", "queries.jsonl"
ATTACKER_OUTAGES = 3
"""Batches in a row that an attacker may fail as a whole before the search stops; it then continues where it was."""


class SearchResult(NamedTuple):
    """What one strategy found out about all goals."""

    strategy: str
    rows: list[QueryRow]
    """In the order of asking."""
    outcomes: list[GoalOutcome]
    """In the order of the goals."""
    counts: dict[str, Any]
    """For the manifest: calls, batches, `slots_busy`, failures, seconds."""


def search(
    strategy: Strategy,
    goals: Sequence[Prompt],
    target: Engine,
    judge: Judge,
    config: SearchConfig,
    folder: Path,
    *,
    families: Sequence[AttackFamily] = (),
    attacker: Engine | None = None,
    progress: Progress | None = None,
) -> SearchResult:
    """Attack all goals with one strategy; `folder` gets `calls.jsonl` and `queries.jsonl`, and continues from them.

    Args:
        goals: plain requests that the target should decline.
        families: what strategies without an attacker build on (and GPTFuzzer's seeds).

    Raises:
        UsageError: the strategy needs an attacker, or the target's weights, and there are none.
        DataError: a goal that is no request to decline, two goals with one id, or a malformed file in the folder.
        EngineError: target, attacker or judge cannot be reached; what was asked is kept, and the same call continues.
    """
    if strategy.needs_attacker and attacker is None:
        raise UsageError(
            f"The search {strategy.name!r} needs an attacker model: name one (--attacker api:NAME), or use a strategy "
            "without, such as bandit."
        )
    if strategy.forward_passes and not hasattr(target, "model"):
        raise UsageError(
            f"The search {strategy.name!r} needs the target's weights: name the target as hf:PATH, or use a strategy "
            "that only asks, such as bandit."
        )
    _check(goals)
    driver = _Driver(strategy, target, judge, attacker, config, folder, progress)
    return driver.run(goals, families)


def _check(goals: Sequence[Prompt]) -> None:
    if len({goal.id for goal in goals}) != len(goals):
        raise DataError("two goals share an id; ids must be unique within a search.")
    for goal in goals:
        if goal.expect not in ("refuse", "either"):
            raise DataError(f"goal {goal.id} expects {goal.expect!r}; a search attacks requests to be refused.")
        if not any(message.role == "user" for message in goal.messages):
            raise DataError(f"goal {goal.id} has no user turn; expected the plain request as one.")


class _Driver:
    """The queues of one search, and the two engines that empty them."""

    def __init__(
        self,
        strategy: Strategy,
        target: Engine,
        judge: Judge,
        attacker: Engine | None,
        config: SearchConfig,
        folder: Path,
        progress: Progress | None,
    ) -> None:
        self.strategy, self.target, self.judge, self.attacker = strategy, target, judge, attacker
        self.config, self.folder, self.progress = config, folder, progress
        self.calls, self.queries = Calls(folder / CALLS), Queries(folder / QUERIES, strategy.name)
        self.batch_size = batch_size_of(target, config.batch_size)
        self.attacker_batch_size = batch_size_of(attacker, config.attacker_batch_size) if attacker else 1
        self.for_target, self.for_attacker = Waiting(), Waiting()
        self.counts: Counter[str] = Counter()
        self.runs: list[GoalRun] = []
        self.under_way = 0
        self._outages = 0

    def run(self, goals: Sequence[Prompt], families: Sequence[AttackFamily]) -> SearchResult:
        """Until every goal has ended."""
        started = time.perf_counter()
        shared: dict[str, Any] = {}
        found = (self._goal_run(index, goal, families, shared, len(goals)) for index, goal in enumerate(goals))
        self.runs = list(found)
        self.under_way = len(self.runs)
        for run in self.runs:
            self._advance(run)
        while self.for_target or self.for_attacker:
            if self.for_target and (len(self.for_target) >= self.batch_size or not self.for_attacker):
                self._ask_target(self.for_target.take(self.batch_size))
            else:
                self._ask_attacker(self.for_attacker.take(self.attacker_batch_size))
        self.queries.finish()
        outcomes = [self._outcome(run) for run in self.runs]
        return SearchResult(self.strategy.name, self.queries.rows, outcomes, self._summary(outcomes, started))

    def _goal_run(
        self, index: int, goal: Prompt, families: Sequence[AttackFamily], shared: dict[str, Any], num_goals: int
    ) -> GoalRun:
        config = self.config
        rng = random.Random(f"{config.seed}/{self.strategy.name}/{goal.id}")
        context = Context(
            goal, config.budget, rng, families, config.wordings, shared, has_attacker=self.attacker is not None
        )
        if self.strategy.forward_passes:
            context.target, context.think, context.folder = self.target, config.sampling.think, self.folder
            context.progress, context.num_goals = self.progress, num_goals
        limit = round(config.attacker_calls_per_query * config.budget) + ATTACKER_SLACK
        return GoalRun(index, goal, context, self.strategy.run(goal, context), limit, config.stop_at_success)

    def _advance(self, run: GoalRun) -> None:
        """Let a goal's strategy go on, and put what it asks for into a queue."""
        width = -(-self.batch_size // max(1, self.under_way))  # rounded up: what is too much waits for the next batch
        request = run.next_request(width)
        if request is None:
            self.under_way -= 1
        elif isinstance(request, AskTarget):
            for place, (messages, label) in enumerate(zip(request.conversations, request.labels, strict=False)):
                self.for_target.put(run, place, messages, label, self.config.sampling)
        else:
            sampling = self.config.attacker_sampling
            sampling = sampling.model_copy(update={"max_tokens": sampling.max_tokens + request.max_tokens})
            for place, messages in enumerate(request.conversations):
                self.for_attacker.put(run, place, messages, "", sampling)

    def _ask_target(self, asks: list[Ask]) -> None:
        """One batch: ask, judge, log, and let the goals that have all their replies go on."""
        prompts, numbers = [], []
        for ask in asks:
            ask.goal.context.asked += 1
            numbers.append(ask.goal.context.asked)
            prompts.append(self._prompt(ask, f"{numbers[-1]:05d}"))
        completions = self.calls.ask(self.target, prompts, asks[0].sampling, [ask.repeat for ask in asks])
        answered = [
            Answered(ask.goal.index, ask.goal.prompt, ask.messages, ask.label, number, completion)
            for ask, number, completion in zip(asks, numbers, completions, strict=True)
        ]
        rows = judged(answered, self.judge, self.queries, self.counts["batches"])
        self.queries.add(rows)
        self.counts["batches"] += 1
        self.counts["target_calls"] += len(asks)
        for ask, row, completion in zip(asks, rows, completions, strict=True):
            self.counts["successes"] += row.jailbroken and not ask.goal.has_succeeded
            ask.goal.add(row)
            ask.deliver(Reply(completion, row.answer_label, row.thought_label, row.score, row.number_of_queries))
        self._go_on(asks)
        if self.progress is not None:
            asked = self.counts["target_calls"]
            open_ = sum(run.context.left for run in self.runs if run.status is None)  # budget that may still be spent
            note = f"{self.counts['successes']} of {len(self.runs)} goals broken"
            self.progress(f"search {self.strategy.name}, calls", asked, asked + open_, note=note)

    def _ask_attacker(self, asks: list[Ask]) -> None:
        """One batch of the attacker. What it fails to answer is an empty string, counted and never an exception."""
        assert self.attacker is not None  # checked before the search began, unless a strategy ignores has_attacker
        prompts = []
        for ask in asks:
            ask.goal.attacker_calls += 1
            prompts.append(self._prompt(ask, f"attacker/{ask.goal.attacker_calls:05d}"))
        try:
            completions = self.calls.ask(self.attacker, prompts, asks[0].sampling, [ask.repeat for ask in asks])
            self._outages = 0
        except EngineError as error:
            self._outages += 1
            if self._outages == ATTACKER_OUTAGES:
                raise
            completions = [error_row(prompt, 0, self.attacker.name, str(error)) for prompt in prompts]
        for ask, completion in zip(asks, completions, strict=True):
            answer = "" if completion.finish == "error" else completion.answer
            ask.goal.context.counts["attacker_failures"] += not answer.strip()
            ask.deliver(answer)
        self._go_on(asks)

    def _go_on(self, asks: Sequence[Ask]) -> None:
        """Advance the goals of a batch; what a goal that a success has ended still waits for is not asked any more."""
        runs = {run.index: run for run in (ask.goal for ask in asks)}.values()
        if any(run.is_over for run in runs):
            self.for_target.drop_ended()
        for run in runs:
            if run.is_answered:
                self._advance(run)

    def _prompt(self, ask: Ask, number: str) -> Prompt:
        """A conversation as a prompt of its own. `expect` and `meta` are the goal's: they tell judges the truth."""
        goal = ask.goal.prompt
        parent = Attack(name=self.strategy.name, params={"label": ask.label}, parent_id=goal.id)
        update = {"id": f"{self.strategy.name}/{goal.id}/{number}", "messages": ask.messages, "attack": parent}
        return goal.model_copy(update=update)

    def _outcome(self, run: GoalRun) -> GoalOutcome:
        counts = {**run.context.counts, "attacker_calls": run.attacker_calls}
        status = run.status or "exhausted"
        return goal_outcome(run.prompt, run.index, self.strategy.name, status, self.config.budget, run.rows, counts)

    def _summary(self, outcomes: Sequence[GoalOutcome], started: float) -> dict[str, Any]:
        batches, calls = self.counts["batches"], self.counts["target_calls"]
        names = ("target_errors", "unscored", "leaks", *(n for n in GoalOutcome.model_fields if n.startswith("attack")))
        return {
            "goals": len(outcomes),
            "successes": sum(outcome.status == "success" for outcome in outcomes),
            "target_calls": calls,
            "batches": batches,
            "batch_size": self.batch_size,
            "slots_busy": round(calls / (batches * self.batch_size), 4) if batches else None,
            **{name: sum(getattr(outcome, name) for outcome in outcomes) for name in names},
            "seconds": round(time.perf_counter() - started, 3),
        }
