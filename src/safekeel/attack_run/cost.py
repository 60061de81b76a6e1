"""What an attack run will cost at most, said before it starts: target, attacker and judge calls, and tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from safekeel.attack_run.pack import Pack
from safekeel.attacks.search.base import Strategy
from safekeel.attacks.search.settings import ATTACKER_SLACK, Estimate, SearchConfig, estimate
from safekeel.bench.routing import SAFETY, route
from safekeel.corpus.sample import Sample
from safekeel.corpus.tokens import EstimatedTokens
from safekeel.engines.base import Sampling
from safekeel.judges.open import EMBEDDED, PANELS
from safekeel.records import Prompt


@dataclass(frozen=True)
class SearchCost:
    """One strategy, if no goal is broken before its budget ends."""

    name: str
    num_goals: int
    most: Estimate
    """Of the attacker without retries: one whose replies cannot be used is asked again."""
    attacker_limit: int
    """Attacker calls after which the driver gives one goal up."""

    def line(self) -> str:
        """One line for a terminal."""
        most = self.most
        line = (
            f"{self.num_goals} goals, at most {most.target_calls:,} target calls (about {most.target_tokens:,} tokens)"
        )
        if most.attacker_calls:
            line += (
                f", about {most.attacker_calls:,} attacker calls ({most.attacker_tokens:,} tokens; more where its "
                f"replies cannot be used, and a goal is given up after {self.attacker_limit:,})"
            )
        if most.forward_passes:
            line += f", {most.forward_passes:,} forward passes of the target (white box)"
        return line


@dataclass(frozen=True)
class Plan:
    """An upper bound: rows found again from an earlier run and searches that succeed early cost less."""

    num_goals: int
    num_families: int
    num_prompts: int
    num_samples: int
    skipped: dict[str, int]
    pack_calls: int
    pack_tokens: int
    """Read (estimated from characters) and written (the whole budget of each completion)."""
    searches: tuple[SearchCost, ...]
    judge_calls: int
    """Of a judge that asks a model, two parts per completion; 0 of any other."""

    @property
    def target_calls(self) -> int:
        return self.pack_calls + sum(search.most.target_calls for search in self.searches)

    @property
    def target_tokens(self) -> int:
        return self.pack_tokens + sum(search.most.target_tokens for search in self.searches)

    @property
    def attacker_calls(self) -> int:
        return sum(search.most.attacker_calls for search in self.searches)

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON data."""
        searches = [{**asdict(each), "most": each.most._asdict()} for each in self.searches]
        totals = {name: getattr(self, name) for name in ("target_calls", "target_tokens", "attacker_calls")}
        return {**asdict(self), "searches": searches, **totals}


def plan(
    pack: Pack, sampling: Sampling, judge: str, strategies: Sequence[Strategy], budget: int, has_attacker: bool
) -> Plan:
    """What the run may cost; nothing is opened for it.

    Args:
        judge: its name, as the user gave it.
        budget: target calls per goal and strategy.
        has_attacker: strategies that can do without an attacker model ask one where there is one.
    """
    searches = tuple(_search(strategy, pack.goals, budget, sampling, has_attacker) for strategy in strategies)
    pack_calls = len(pack.prompts) * sampling.num_samples
    calls = pack_calls + sum(search.most.target_calls for search in searches)
    is_asked = asks_a_model(judge) and any(route(prompt) == SAFETY for prompt in pack.prompts)
    return Plan(
        num_goals=len(pack.goals),
        num_families=len(pack.families),
        num_prompts=len(pack.prompts),
        num_samples=sampling.num_samples,
        skipped=dict(pack.about.get("skipped", {})),
        pack_calls=pack_calls,
        pack_tokens=sampling.num_samples * sum(map(_tokens, pack.prompts)) + pack_calls * sampling.max_tokens,
        searches=searches,
        judge_calls=2 * calls if is_asked else 0,
    )


def _search(
    strategy: Strategy, goals: Sequence[Prompt], budget: int, sampling: Sampling, has_attacker: bool
) -> SearchCost:
    spoken = sum(goal.lang in strategy.languages for goal in goals)
    most = estimate(strategy, spoken, budget, sampling.max_tokens, has_attacker=has_attacker)
    limit = round(SearchConfig().attacker_calls_per_query * budget) + ATTACKER_SLACK
    return SearchCost(strategy.name, spoken, most, limit)


def _tokens(prompt: Prompt) -> int:
    return EstimatedTokens()(Sample(id=prompt.id, role="risky", prompt=prompt))


def asks_a_model(judge: str) -> bool:
    """Whether a judge of this name, or a member of the panel that it names, is a model behind an engine."""
    return bool({part.strip() for part in re.split("[:,]", judge)} - {*EMBEDDED, *PANELS})


def as_text(found: Plan, pack_hash: str) -> str:
    """The plan for a terminal."""
    samples = f" x {found.num_samples} samples" if found.num_samples > 1 else ""
    lines = [
        f"pack {pack_hash[:12]}: {found.num_goals} goals, {found.num_families} families with the baseline, "
        f"{found.num_prompts} prompts{samples}"
    ]
    if found.skipped:
        named = ", ".join(f"{name} {count}" for name, count in found.skipped.items())
        lines.append(f"skipped, goals in a language that the family does not speak: {named}")
    lines += [f"search {search.name}: {search.line()}" for search in found.searches]
    asked = f", about {found.attacker_calls:,} attacker calls" if found.attacker_calls else ""
    judged = f", at most {found.judge_calls:,} judge calls" if found.judge_calls else ""
    lines.append(
        f"in all at most {found.target_calls:,} target calls (about {found.target_tokens:,} tokens){asked}{judged}"
    )
    return "\n".join(lines)
