"""The searches of an attack run: which, with what attacker and budget, and their files in the folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safekeel.artifact import atomic_write_json
from safekeel.attacks.base import WORDINGS, AttackFamily, Wording
from safekeel.attacks.search.artifact import write_artifacts
from safekeel.attacks.search.base import Strategy
from safekeel.attacks.search.driver import CALLS, QUERIES, search
from safekeel.attacks.search.log import GoalOutcome, QueryRow
from safekeel.attacks.search.settings import SearchConfig
from safekeel.engines import open_engine
from safekeel.engines.base import Engine, Sampling
from safekeel.errors import DataError, UsageError
from safekeel.judges.base import Judge
from safekeel.progress import Progress
from safekeel.records import Prompt, write_jsonl

OUTCOMES, SEARCHED = "outcomes.jsonl", "searches.json"
DEFAULT_BUDGET = SearchConfig().budget


@dataclass(frozen=True)
class SearchRequest:
    """Which strategies, at which budget of target calls per goal, with which attacker model."""

    names: tuple[str, ...] = ()
    budget: int = DEFAULT_BUDGET
    attacker: str | None = None
    attacker_base_urls: tuple[str, ...] = ()
    attacker_api_key_env: str | None = None
    concurrency: int | None = None
    batch_size: int | None = None
    seed: int = 0

    def check(self, strategies: Sequence[Strategy]) -> None:
        """
        Raises:
            UsageError: a strategy needs an attacker and there is none, or options without use.
        """
        if needy := [strategy.name for strategy in strategies if strategy.needs_attacker and self.attacker is None]:
            raise UsageError(
                f"--search {','.join(needy)}: it needs an attacker model: --attacker api:NAME with --attacker-base-url "
                "URL, or --attacker hf:PATH; or use a strategy without one, such as bandit."
            )
        if self.attacker is not None and not strategies:
            raise UsageError(f"--attacker {self.attacker}: only --search asks an attacker; name a strategy.")
        if self.attacker_base_urls and not (self.attacker or "").startswith("api:"):
            raise UsageError(
                "--attacker-base-url: an endpoint serves an api: attacker; name it with --attacker api:NAME."
            )

    def open_attacker(self, strategies: Sequence[Strategy]) -> Engine | None:
        """The attacker's engine, or None where none is named.

        Raises:
            UsageError, EngineError, DataError: it cannot be used.
        """
        if self.attacker is None or not strategies:
            return None
        options: dict[str, Any] = {}
        if self.attacker.startswith("api:"):
            options = {"base_urls": self.attacker_base_urls or None, "api_key_env": self.attacker_api_key_env}
            options["concurrency"] = self.concurrency
        elif self.attacker.startswith("hf:"):
            options = {"batch_size": self.batch_size}
        return open_engine(self.attacker, **{name: value for name, value in options.items() if value is not None})

    def config(self, sampling: Sampling, wording: Wording) -> SearchConfig:
        """The driver's settings. Wordings are those that the goals' split may use: an attacker of test goals has all of
        them, one whose finds are trained on has no held-out one."""
        allowed = WORDINGS[: WORDINGS.index(wording) + 1]
        one = sampling.model_copy(update={"num_samples": 1})
        return SearchConfig(budget=self.budget, seed=self.seed, wordings=allowed, sampling=one)

    def identity(self) -> dict[str, Any]:
        """What decides the result, as plain JSON data."""
        return {
            "names": list(self.names),
            "budget": self.budget,
            "attacker": self.attacker,
            "attacker_base_urls": list(self.attacker_base_urls),
            "seed": self.seed,
        }


def run_searches(
    strategies: Sequence[Strategy],
    goals: Sequence[Prompt],
    target: Engine,
    judge: Judge,
    config: SearchConfig,
    folder: Path,
    *,
    families: Sequence[AttackFamily],
    attacker: Engine | None,
    progress: Progress | None,
) -> list[Path]:
    """Run one strategy after the other, each over the goals whose language it speaks; returns the files written.

    Raises:
        DataError: a strategy speaks none of the goals' languages.
        EngineError: target, attacker or judge gave up; the same call continues.
    """
    outcomes: list[GoalOutcome] = []
    rows: list[QueryRow] = []
    counts: dict[str, Any] = {}
    for strategy in strategies:
        spoken = [goal for goal in goals if goal.lang in strategy.languages]
        if not spoken:
            spoken_here = ", ".join(sorted({goal.lang for goal in goals}))
            raise DataError(
                f"--search {strategy.name} speaks {', '.join(strategy.languages)}; the goals {spoken_here}."
            )
        found = search(
            strategy, spoken, target, judge, config, folder, families=families, attacker=attacker, progress=progress
        )
        outcomes += found.outcomes
        counts[strategy.name] = {**found.counts, "skipped_language": len(goals) - len(spoken)}
        rows += found.rows
    write_jsonl(folder / OUTCOMES, outcomes)
    atomic_write_json(folder / SEARCHED, counts)
    written = (CALLS, QUERIES, OUTCOMES, SEARCHED)
    artifacts = write_artifacts(folder, rows, {"budget": config.budget, "seed": config.seed})
    return [*(folder / name for name in written if (folder / name).exists()), *artifacts]
