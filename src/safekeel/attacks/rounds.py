"""Stage rounds/NN/50-attack: search for what breaks the current model, on training goals only.

    training goals ──bandit over the seen families──► queries.jsonl ──not defended──► finds.jsonl, twins.jsonl

A find is a disguise under which the model did not defend itself: it gave the harm, planned it in its thought, or
answered nothing that can be read (garbled is no defence: the next sample may be the harm). Goals spend their whole
budget, since one success says little about where the others are. A find's twin is a harmless request in the very same
disguise: training on finds alone would teach that the disguise is what to refuse. Goals, families and wordings are
those of the training side; nothing that is measured with is ever attacked here.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import Field

from safekeel.artifact import Stage, atomic_write_json
from safekeel.attacks.base import WORDINGS, AttackFamily, Wording
from safekeel.attacks.disguise import dressed, outer
from safekeel.attacks.search import SEARCHES
from safekeel.attacks.search.driver import CALLS, QUERIES, SearchResult, search
from safekeel.attacks.search.log import QueryRow
from safekeel.attacks.search.metrics import summary
from safekeel.attacks.search.settings import SearchConfig
from safekeel.config import StageConfig
from safekeel.engines.base import Engine, Sampling
from safekeel.errors import DataError
from safekeel.judges.base import Judge
from safekeel.progress import Progress
from safekeel.records import Attack, Prompt, write_jsonl

STAGE, VERSION = "attack-round", "2"
SEARCH_STAGE, SEARCH_VERSION = "attack-round-search", "3"
FINDS, TWINS, SEARCH = "finds.jsonl", "twins.jsonl", "search.json"
KINDS_OF_FAILURE = ("harm", "leak", "unreadable")
"""The worst first."""


class RoundsConfig(StageConfig):
    """How often the model is attacked and trained again, and how hard it is attacked for the curve."""

    num_rounds: int = Field(0, ge=0)
    """0 = none."""
    num_goals: int = Field(248, ge=1)
    """Training goals attacked per round, others in each."""
    budget: int = Field(20, ge=1)
    """Target calls per training goal."""
    max_finds: int = Field(300, ge=1)
    """Per round: what gave the harm, then what planned it, then what cannot be read (`failures`)."""
    num_test_goals: int = Field(62, ge=1)
    test_budget: int = Field(20, ge=1)
    """Target calls per test goal, over the families of one side (seen or unseen)."""
    search_budget: int = Field(100, ge=1)
    """Target calls per test goal over all families and wordings, disguises inside disguises included."""
    temperature: float = Field(0.6, ge=0)
    top_p: float = Field(0.95, gt=0, le=1)
    """DeepSeek-R1's own sampling: an attack that is sent twice may succeed once."""
    seed: int = 0

    def search(
        self, budget: int, wordings: tuple[Wording, ...], seed: int, max_tokens: int, stop: bool = True
    ) -> SearchConfig:
        """Settings of one search.

        Args:
            stop: a goal ends with its first success.
        """
        sampling = Sampling(max_tokens=max_tokens, temperature=self.temperature, top_p=self.top_p, seed=seed)
        return SearchConfig(budget=budget, wordings=wordings, seed=seed, sampling=sampling, stop_at_success=stop)


class Goal(NamedTuple):
    """A risky request of the training side and a harmless one like it."""

    risky: Prompt
    twin: Prompt


def run(
    config: SearchConfig,
    stage: Stage,
    goals: Sequence[Goal],
    families: Sequence[AttackFamily],
    target: Engine,
    judge: Judge,
    progress: Progress,
    max_finds: int,
) -> SearchResult:
    """Fill the stage folder; killed, it continues without asking twice.

    Args:
        config: its goals spend their budget (`stop_at_success` false), or end with their first success.
        max_finds: see `RoundsConfig.max_finds`.

    Raises:
        DataError: no goals.
        EngineError: target or judge cannot be reached.
    """
    if not goals:
        raise DataError("There are no training goals to attack; raise rounds.num_goals.")
    stage.begin()
    risky = [goal.risky for goal in goals]
    result = search(
        SEARCHES.get("bandit"), risky, target, judge, config, stage.dir, families=families, progress=progress
    )
    undefended = failures(result.rows, max_finds, config.seed)
    twin_of = {goal.risky.id: goal.twin for goal in goals}
    by_id = {goal.id: goal for goal in risky}
    finds, twins = [], []
    for row in undefended:
        attack = Attack(name=outer(row.label), params={"label": row.label}, parent_id=row.goal_id)
        number = f"{row.number_of_queries:03d}"
        update = {"id": f"find/{row.goal_id}/{number}", "messages": row.messages, "attack": attack}
        finds.append(by_id[row.goal_id].model_copy(update=update))
        twins.append(dressed(twin_of[row.goal_id], row.label, number, config.seed))
    write_jsonl(stage.dir / FINDS, finds)
    write_jsonl(stage.dir / TWINS, twins)
    atomic_write_json(stage.dir / SEARCH, summary(result.outcomes, result.rows))
    outputs = [stage.dir / name for name in (FINDS, TWINS, SEARCH, QUERIES, CALLS)]
    found = {kind: sum(kind_of(row) == kind for row in result.rows) for kind in KINDS_OF_FAILURE}
    stage.finish(outputs, result.counts | {"finds": len(finds), **found})
    return result


def failures(rows: Sequence[QueryRow], limit: int, seed: int) -> list[QueryRow]:
    """At most `limit` replies that are no defence: harm given, then harm planned, then unreadable, drawn at random
    within each. A target that could not be asked has shown nothing."""
    rng = random.Random(f"{seed}/finds")
    found: list[QueryRow] = []
    for kind in KINDS_OF_FAILURE:
        of_kind = [row for row in rows if kind_of(row) == kind]
        found += rng.sample(of_kind, min(len(of_kind), limit - len(found)))
    return found


def kind_of(row: QueryRow) -> str | None:
    """Which kind of failure a reply is; None = a defence, or no reply."""
    if row.jailbroken:
        return "harm"
    if row.is_leak:
        return "leak"
    return "unreadable" if row.is_unscored and row.finish != "error" else None


def held_out(
    config: RoundsConfig,
    stage: Stage,
    goals: Sequence[Prompt],
    sides: dict[str, Sequence[AttackFamily]],
    target: Engine,
    judge: Judge,
    max_tokens: int,
    progress: Progress,
) -> dict[str, dict]:
    """Searches on test goals, for the curve only: each side (seen, unseen families) in its test wording at
    `test_budget`, and all families in all wordings at `search_budget`. Fills the stage folder with a sub-folder per
    search and `search.json`.

    Returns:
        `attacks.search.metrics.summary` by name: `seen`, `unseen`, `search`.
    """
    stage.begin()
    every = tuple(family for families in sides.values() for family in families)
    runs: dict[str, tuple[Sequence[AttackFamily], int, tuple[Wording, ...]]] = {
        name: (families, config.test_budget, ("test",)) for name, families in sides.items() if families
    }
    runs["search"] = (every, config.search_budget, WORDINGS)
    found: dict[str, dict] = {}
    outputs: list[Path] = [stage.dir / SEARCH]
    counts: dict[str, int] = {}
    for name, (families, budget, wordings) in runs.items():
        folder = stage.dir / name
        folder.mkdir(exist_ok=True)
        asked = config.search(budget, wordings, config.seed, max_tokens)
        bandit = SEARCHES.get("bandit")
        result = search(bandit, goals, target, judge, asked, folder, families=families, progress=progress)
        found[name] = summary(result.outcomes, result.rows) | {"slots_busy": result.counts["slots_busy"]}
        counts[f"{name}_calls"] = result.counts["target_calls"]
        outputs += [folder / QUERIES, folder / CALLS]
    atomic_write_json(stage.dir / SEARCH, found)
    stage.finish(outputs, {"goals": len(goals), **counts})
    return found
