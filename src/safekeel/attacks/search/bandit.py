"""Adaptive bandit: learn which disguise works on this target, with no attacker model. The embedded default.

UCB1 (Auer, Cesa-Bianchi and Fischer 2002, Machine Learning 47:235-256) over transform families x wordings:

    arm* = argmax over arms   mean score + sqrt(2 ln N / n)

An arm is tried once per goal: the disguise is deterministic, so its second try would be its first. When a goal has met
all arms, pairs of them are composed, one family around what another made, the most promising first.
Replies of a batch arrive together, so an arm counts as played when it is asked: else all goals would begin with the
same one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from safekeel.attacks.base import AttackFamily, Request, Wording
from safekeel.attacks.search.base import Context, Conversation, Steps, ask_target
from safekeel.errors import UsageError
from safekeel.records import Lang, Prompt


class Arm(NamedTuple):
    """One wording of one family, or that around another arm."""

    family: AttackFamily
    wording: Wording
    inner: Arm | None = None

    @property
    def label(self) -> str:
        """`fiction:test`, and `fiction:test(role_play:test)` for a composed one."""
        return f"{self.family.name}:{self.wording}" + (f"({self.inner.label})" if self.inner else "")


@dataclass
class Table:
    """What was learnt about the arms, by label; of one goal, or of all."""

    plays: dict[str, int] = field(default_factory=dict)
    """Asked, whether answered yet or not."""
    answered: dict[str, int] = field(default_factory=dict)
    total: dict[str, float] = field(default_factory=dict)
    """Sum of scores."""
    num_plays: int = 0
    """Of all arms together."""

    def mean(self, label: str) -> float:
        """0 until a reply has come."""
        answered = self.answered.get(label, 0)
        return self.total[label] / answered if answered else 0.0

    def ucb(self, label: str) -> float:
        """The upper confidence bound; infinite for an arm that was never asked."""
        plays = self.plays.get(label, 0)
        if not plays:
            return math.inf
        return self.mean(label) + math.sqrt(2 * math.log(self.num_plays) / plays)

    def play(self, label: str) -> None:
        self.num_plays += 1
        self.plays[label] = self.plays.get(label, 0) + 1

    def learn(self, label: str, score: float) -> None:
        self.answered[label] = self.answered.get(label, 0) + 1
        self.total[label] = self.total.get(label, 0.0) + score


@dataclass(frozen=True)
class Bandit:
    """See the module."""

    name: str = "bandit"
    goal: str = "find the disguise that this target falls for, without an attacker model"
    source: str = "UCB1 (Auer et al. 2002) over this package's families; own"
    languages: tuple[Lang, ...] = ("zh", "en")
    needs_attacker: bool = False
    attacker_calls_per_query: float = 0.0
    forward_passes: int = 0
    cost: str = "one target call per try, nothing else"
    share: bool = True
    """Goals learn from one another: what broke the first is tried first on the next."""
    max_at_once: int = 4
    """Arms that a goal may try together when the target has idle slots: they learn nothing from one another."""

    def run(self, goal: Prompt, context: Context) -> Steps[None]:
        """See `Strategy.run`; ends when every arm and every pair of arms was tried.

        Raises:
            UsageError: no family speaks the goal's language.
        """
        # Families differ in what they can do in each language, so a table is of one language.
        table = context.shared.setdefault(f"bandit/{context.lang}", Table()) if self.share else Table()
        arms = [Arm(family, wording) for family in context.usable_families() for wording in context.wordings]
        if not arms:
            raise UsageError(f"the bandit has no family for {context.lang!r}; name some with --family.")
        context.rng.shuffle(arms)  # ties between arms are broken differently for every goal
        while arms:
            arms.sort(key=lambda arm: -table.ucb(arm.label))
            width = self._at_once(context)
            chosen, arms = arms[:width], arms[width:]
            yield from self._try(table, chosen, context)
        pairs = _pairs(table, context)
        while chosen := list(islice(pairs, self._at_once(context))):
            yield from self._try(table, chosen, context)

    def _at_once(self, context: Context) -> int:
        return min(context.width, self.max_at_once)

    def _try(self, table: Table, arms: Sequence[Arm], context: Context) -> Steps[None]:
        for arm in arms:
            table.play(arm.label)
        dressed = [dress(arm, context) for arm in arms]
        replies = yield from ask_target(dressed, [arm.label for arm in arms])
        for arm, reply in zip(arms, replies, strict=False):
            table.learn(arm.label, reply.score)


def dress(arm: Arm, context: Context) -> Conversation:
    """The goal's request under an arm."""
    request = context.request
    if arm.inner is not None:
        # The pieces of the inner disguise are its words: the meaningful segments were those of the plain request.
        request = Request(arm.inner.family.apply(request, arm.inner.wording, context.rng), request.lang)
    return arm.family.messages(request, arm.wording, context.rng)


def _pairs(table: Table, context: Context) -> Iterator[Arm]:
    """One family around another, in one wording each (their best), the pair with the higher means first."""

    def best(family: AttackFamily) -> Arm:
        arms = [Arm(family, wording) for wording in context.wordings]
        return max(arms, key=lambda arm: table.mean(arm.label))

    singles = [best(family) for family in context.usable_families()]
    inner = [arm for arm in singles if arm.family.kind == "transform"]  # only these are told by their last user turn
    pairs = [Arm(a.family, a.wording, b) for a in singles for b in inner if a.family is not b.family]

    def promise(arm: Arm) -> float:
        assert arm.inner is not None
        return table.mean(f"{arm.family.name}:{arm.wording}") + table.mean(arm.inner.label)

    yield from sorted(pairs, key=lambda arm: (-promise(arm), arm.label))
