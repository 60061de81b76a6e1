"""One goal under attack: its strategy's generator, what it waits for, and why it ended."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from safekeel.attacks.search.base import AskAttacker, AskTarget, Context, Reply, Sent, Steps
from safekeel.attacks.search.log import QueryRow, Status
from safekeel.records import Prompt

IDLE_STEPS = 1000
"""Steps in a row in which a strategy may ask nothing: more is an error of the strategy, not a search."""


@dataclass
class GoalRun:
    """A goal and its generator. `inbox` has a place per conversation of the present request."""

    index: int
    prompt: Prompt
    context: Context
    steps: Steps[None]
    attacker_limit: int
    """Attacker calls after which the goal is given up."""
    stop_at_success: bool = True
    inbox: list[Reply | str | None] | None = None
    """None = the generator has not begun; a None inside = not answered yet."""
    rows: list[QueryRow] = field(default_factory=list)
    has_succeeded: bool = False
    attacker_calls: int = 0
    status: Status | None = None
    """None = under way."""

    def add(self, row: QueryRow) -> None:
        """Note a target call."""
        self.rows.append(row)
        self.has_succeeded = self.has_succeeded or row.jailbroken

    @property
    def is_over(self) -> bool:
        """Nothing more is to be asked: a success has ended the goal."""
        return self.has_succeeded and self.stop_at_success

    @property
    def is_answered(self) -> bool:
        """Whether the generator can go on: all its conversations were answered, or the goal has ended by one."""
        return self.is_over or all(reply is not None for reply in self.inbox or ())

    def next_request(self, width: int) -> AskTarget | AskAttacker | None:
        """Hand the replies over and take the next request; None = the goal has ended, and `status` says why.

        A request for the target is cut down to the budget left.

        Raises:
            RuntimeError: the strategy asks nothing, again and again.
        """
        for _ in range(IDLE_STEPS):
            self.context.width = width
            try:
                request = self.steps.send(self._received())  # type: ignore[arg-type]  # None begins a generator
            except StopIteration:
                self.status = self._why_over() or "exhausted"
                return None
            self.status = self._why_over()
            if isinstance(request, AskAttacker) and self.attacker_calls >= self.attacker_limit:
                self.status = self.status or "attacker"
            if self.status is not None:
                self.steps.close()
                return None
            if isinstance(request, AskTarget):
                request = AskTarget(request.conversations[: self.context.left], request.labels)
            self.inbox = [None] * len(request.conversations)
            if self.inbox:
                return request
        raise RuntimeError(f"a search strategy asked nothing in {IDLE_STEPS} steps for {self.prompt.id}; repair it.")

    def _received(self) -> Sent | None:
        if self.inbox is None:
            return None
        answered = itertools.takewhile(lambda reply: reply is not None, self.inbox)
        return list(answered)  # type: ignore[return-value]  # all of one kind

    def _why_over(self) -> Status | None:
        if self.is_over:
            return "success"
        return None if self.context.left else "budget"
