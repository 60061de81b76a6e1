"""What the searches found, for `attack.json`; and every prompt that broke a goal, as a pack for another model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from safekeel.attack_run.pack import DIRECT, PREFIX, family_of, goal_of
from safekeel.attacks.search.log import GoalOutcome, QueryRow
from safekeel.attacks.search.metrics import asr_curve, summary
from safekeel.bench.metrics import Item
from safekeel.records import Attack, Prompt

SEARCH = "search-"
"""Before a strategy's name in the attack of a prompt that it found."""


def search_row(outcomes: Sequence[GoalOutcome], rows: Sequence[QueryRow], counts: Mapping[str, Any]) -> dict[str, Any]:
    """One strategy: `attacks.search.metrics.summary`, the `steps` (calls, share of goals broken) wherever the share
    rises, the target calls that `repeated` a prompt of the same goal, the goals whose only success is a leak, and what
    the driver counted."""
    points = asr_curve(outcomes, range(outcomes[0].budget + 1), rows)
    rises = [point for before, point in pairwise(points) if point.value > before.value]
    return {
        **summary(outcomes, rows),
        "num_broken": sum(each.queries_to_success is not None for each in outcomes),
        "steps": [(point.k, point.value) for point in (points[0], *rises, points[-1])],
        "repeated": len(rows) - len({(row.goal_id, row.messages) for row in rows}),
        "goals_only_leaked": sum(each.leaks > 0 and each.queries_to_success is None for each in outcomes),
        "driver": {name: value for name, value in counts.items() if name != "seconds"},  # the same run, the same file
    }


def breaking_prompts(items: Sequence[Item], goals: Sequence[Prompt], queries: Sequence[QueryRow]) -> list[Prompt]:
    """Every prompt that broke a goal, as a pack that another model can be asked, with the goals as its baseline.

    A search gives its first success per goal. Requests only: no answer of the model is in it.
    """
    broken = [item.prompt for item in items if item.answer == "harmful" and family_of(item.prompt) != DIRECT]
    found = {prompt.id: prompt for prompt in broken}
    by_id = {goal.id: goal for goal in goals}
    for row in queries:
        identifier = f"{PREFIX}{SEARCH}{row.strategy}/{row.goal_id}"
        if row.jailbroken and row.goal_id in by_id and identifier not in found:
            params = {"label": row.label, "queries": row.number_of_queries, "kind": "search"}
            attack = Attack(name=f"{SEARCH}{row.strategy}", params=params, parent_id=row.goal_id)
            update = {"id": identifier, "messages": row.messages, "attack": attack}
            found[identifier] = by_id[row.goal_id].model_copy(update=update)
    reached = {goal_of(prompt) for prompt in found.values()}
    baseline = [item.prompt for item in items if family_of(item.prompt) == DIRECT and goal_of(item.prompt) in reached]
    return [*{prompt.id: prompt for prompt in baseline}.values(), *found.values()]
