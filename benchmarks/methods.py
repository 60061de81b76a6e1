"""Which way of training holds what: every method of issue 5 on the same base, tokens, test items and three seeds.

    python benchmarks/methods.py --out out/methods [--seeds 0,1,2] [--only NAME,…] [--split validation]

Each row (method, seed) is appended to OUT/methods-SPLIT.jsonl when it is measured; the same command continues. Seconds
are CPU seconds of training on one thread (OMP_NUM_THREADS=1): wall time would depend on what else runs.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from methods_arms import Bench, Trained, arms
from methods_measure import answer, items, measure

from safekeel.judges.nano import NanoJudge
from safekeel.nano.words import load_words
from safekeel.progress import ProgressReporter

TOKENS = 100_000
"""Of every SFT corpus; the nano loop's own has 127,000."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, default=Path("out/nano/00-base/model"))
    parser.add_argument("--out", type=Path, default=Path("out/methods"))
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--tokens", type=int, default=TOKENS)
    parser.add_argument("--only", default="", help="names of methods, separated by semicolons; none = all")
    arguments = parser.parse_args()
    words = load_words(None)
    judge, groups = NanoJudge(words), items(words, arguments.split)
    held_out = [p for split in ("validation", "test") for group in items(words, split).values() for p in group]  # type: ignore[arg-type]
    rows = Rows(arguments.out / f"methods-{arguments.split}.jsonl")
    base = answer(arguments.base, groups, judge)
    rows.add("base", 0, measure(base, base), 0, 0.0)
    wanted = {name.strip() for name in arguments.only.split(";") if name.strip()}
    with ProgressReporter() as progress:
        for seed in map(int, arguments.seeds.split(",")):
            bench = Bench(arguments.base, arguments.out, seed, arguments.tokens, words, held_out, progress)
            trained: dict[str, Trained] = {}
            for name, arm in arms(trained).items():
                if wanted and name not in wanted:
                    continue
                bench.corpus("+ counter-pairs")  # shared work, not a method's
                began = time.process_time()
                trained[name] = arm(bench)
                seconds = time.process_time() - began
                if not rows.has(name, seed):
                    model, tokens = trained[name]
                    rows.add(name, seed, measure(base, answer(model, groups, judge)), tokens, seconds)


class Rows:
    """The file of results."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text("utf-8") if path.exists() else ""
        self.rows: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]

    def has(self, method: str, seed: int) -> bool:
        return any((row["method"], row["seed"]) == (method, seed) for row in self.rows)

    def add(self, method: str, seed: int, metrics: dict[str, Any], tokens: int, seconds: float) -> None:
        """Append a row, unless it is there."""
        if self.has(method, seed):
            return
        row = {"method": method, "seed": seed, "metrics": metrics, "tokens": tokens, "cpu_seconds": round(seconds, 1)}
        self.rows.append(row)
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
        print(json.dumps(row, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
