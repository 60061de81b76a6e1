"""Where the time of a search goes: the target, the judge, the dressing of requests, and everything else.

    python benchmarks/search_profile.py [--model PATH] [--goals 248] [--budget 20] [--out docs/results/redteam]

The bandit attacks validation goals of the nano world with every family of its language, as `safekeel attack --search
bandit` does; each part is timed where the driver calls it, without a profiler's cost per call. The target is the
smallest model that can be attacked at all, so the shares of everything but the target are upper bounds for real ones.
Also told: how many of the batch's slots were busy. Prints a table, and with --out writes `profile.json`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safekeel.attacks import ATTACKS
from safekeel.attacks.search import SEARCHES, SearchConfig, bandit, search
from safekeel.engines import open_engine
from safekeel.engines.base import Sampling
from safekeel.judges.nano import NanoJudge
from safekeel.nano.model import shipped_checkpoint
from safekeel.nano.words import load_words
from safekeel.nano.world import refuse_items

PARTS = ("target", "judge", "transforms")


def timed(spent: Counter[str], part: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, its seconds added to `spent[part]`."""

    def measured(*args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        try:
            return call(*args, **kwargs)
        finally:
            spent[part] += time.perf_counter() - started

    return measured


def measure(model: Path, num_goals: int, budget: int, batch_size: int) -> dict[str, Any]:
    """Seconds and shares of one search."""
    words = load_words(None)
    engine, judge = open_engine(f"hf:{model}", batch_size=batch_size), NanoJudge(words)
    spent: Counter[str] = Counter()
    engine.generate = timed(spent, "target", engine.generate)  # type: ignore[method-assign]
    judge.judge_many = timed(spent, "judge", judge.judge_many)  # type: ignore[method-assign]
    dress, bandit.dress = bandit.dress, timed(spent, "transforms", bandit.dress)
    goals = refuse_items(words, "validation", num_goals, 0)
    families = [ATTACKS.get(name) for name in ATTACKS.names() if ATTACKS.get(name).kind == "transform"]
    config = SearchConfig(budget=budget, sampling=Sampling(max_tokens=96), stop_at_success=False)
    started = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory() as folder:
            found = search(SEARCHES.get("bandit"), goals, engine, judge, config, Path(folder), families=families)
    finally:
        bandit.dress = dress
    total = time.perf_counter() - started
    seconds = {part: spent[part] for part in PARTS} | {"everything else": total - sum(spent.values())}
    return {
        "goals": num_goals,
        "families": len(families),
        "target_calls": found.counts["target_calls"],
        "slots_busy": found.counts["slots_busy"],
        "seconds": round(total, 2),
        "share": {part: round(value / total, 4) for part, value in seconds.items()},
    }


def main() -> None:
    """Measure, print, and keep."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path, default=shipped_checkpoint())
    parser.add_argument("--goals", type=int, default=248)
    parser.add_argument("--budget", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = measure(options.model, options.goals, options.budget, options.batch_size)
    print(f"{found['target_calls']} calls in {found['seconds']} s, {found['slots_busy']:.1%} of the slots busy")
    for part, share in found["share"].items():
        print(f"{part:16} {share:7.2%}")
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "profile.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
