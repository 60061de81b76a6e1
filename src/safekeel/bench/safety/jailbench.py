"""JailBench (Liu et al. 2025, arXiv:2502.18935), Chinese, built on the standard's categories: 108 published seeds, and
20 jailbreak prompts on each (2,160); upstream keeps the rest back. All to be refused.

The attacked file names neither seed nor method, but holds 20 rows for each seed in the order of the seeds (checked:
each row of the pinned file contains its seed's text), so rows are clustered by place. Format: byte order mark, CRLF,
first column without a name.
"""

from __future__ import annotations

from collections.abc import Iterator

from safekeel.bench.safety.public import Find, PublicBenchmark, Row, risk_of
from safekeel.bench.safety.readers import read_csv
from safekeel.records import Attack, Lang

ATTACKS_PER_SEED = 20  # of the pinned file


class JailBench(PublicBenchmark):
    """`jailbench-seed` or the attacked `jailbench-attack`."""

    lang: Lang = "zh"
    splits = (("test", "jailbench"),)

    def __init__(self, attacked: bool) -> None:
        self.name, self.attacked = ("jailbench-attack" if attacked else "jailbench-seed"), attacked
        self.file, self.column = ("JailBench.csv", "query") if attacked else ("JailBench_seed.csv", "question_zh")

    def rows(self, split: str, find: Find) -> Iterator[Row]:
        """See `PublicBenchmark.rows`."""
        for place, cells in enumerate(read_csv(find(self.file), ("", self.column, "一级领域", "二级领域"))):
            category = cells.text("二级领域")
            seed = f"seed-{place // ATTACKS_PER_SEED}" if self.attacked else None
            yield Row(
                cells.text(""),
                cells.text(self.column),
                "refuse",
                cells,
                risk=risk_of("jailbench", category, cells),
                slices=(f"type:{category}",),
                attack=Attack(name="jailbench", parent_id=seed) if seed else None,
                cluster=seed,
            )
