"""Conversations that wait to be asked, and how a batch is taken from them."""

from __future__ import annotations

from collections import Counter, deque
from typing import NamedTuple

from safekeel.attacks.search.base import Conversation, Reply
from safekeel.attacks.search.goal_run import GoalRun
from safekeel.engines.base import Sampling


class Ask(NamedTuple):
    """One conversation of a goal's request; its reply goes to `goal.inbox[place]`."""

    goal: GoalRun
    place: int
    messages: Conversation
    label: str
    sampling: Sampling
    repeat: int
    """How often this goal has asked the very same before: asking again is another sample, under another seed."""

    def deliver(self, reply: Reply | str) -> None:
        assert self.goal.inbox is not None  # it asked, so it has begun
        self.goal.inbox[self.place] = reply


class Waiting:
    """A queue for one engine, first in, first out."""

    def __init__(self) -> None:
        self._queue: deque[Ask] = deque()
        self._asked: Counter[tuple[str, Conversation]] = Counter()

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, goal: GoalRun, place: int, messages: Conversation, label: str, base: Sampling) -> None:
        """Let a conversation wait."""
        repeat = self._asked[goal.prompt.id, messages]
        self._asked[goal.prompt.id, messages] += 1
        # Greedy replies know no seed, and an engine call has one seed: batches are the fuller for sharing it.
        seed = base.seed + (repeat if base.temperature else 0)
        sampling = base.model_copy(update={"seed": seed, "num_samples": 1})
        self._queue.append(Ask(goal, place, messages, label, sampling, repeat))

    def take(self, size: int) -> list[Ask]:
        """Up to `size` conversations that share their sampling, since an engine call has one: the first in the queue of
        the first sampling that fills a batch, or else of the most frequent one."""
        counts = Counter((ask.sampling.seed, ask.sampling.max_tokens) for ask in self._queue)
        chosen = next((each for each, count in counts.items() if count >= size), counts.most_common(1)[0][0])
        taken: list[Ask] = []
        left: list[Ask] = []
        while self._queue and len(taken) < size:
            ask = self._queue.popleft()
            (taken if (ask.sampling.seed, ask.sampling.max_tokens) == chosen else left).append(ask)
        self._queue.extendleft(reversed(left))
        return taken

    def drop_ended(self) -> None:
        """Forget what goals that a success has ended still wanted to ask."""
        self._queue = deque(ask for ask in self._queue if not ask.goal.is_over)
