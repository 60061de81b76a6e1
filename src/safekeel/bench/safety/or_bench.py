"""OR-Bench (Cui et al. 2024, arXiv:2405.20947): English prompts that only sound harmful (80k; hard-1k: those that
strong models refuse), to be answered, and 655 toxic ones, to be refused.

The files are on the Hugging Face hub only and were not seen by SafeKeel's authors: columns as documented."""

from __future__ import annotations

from collections.abc import Iterator

from safekeel.bench.safety.public import Find, PublicBenchmark, Row, risk_of
from safekeel.bench.safety.readers import read_csv
from safekeel.records import Lang


class OrBench(PublicBenchmark):
    """One of the three parts: `80k`, `hard-1k` or `toxic`."""

    lang: Lang = "en"
    splits = (("test", "or-bench"),)

    def __init__(self, part: str) -> None:
        self.part, self.toxic = part, part == "toxic"
        self.name = f"or-bench-{part}"
        self.metrics = ("refused", "dsr") if self.toxic else ("over_refusal",)

    def rows(self, split: str, find: Find) -> Iterator[Row]:
        """See `PublicBenchmark.rows`."""
        for number, cells in enumerate(read_csv(find(f"or-bench-{self.part}.csv"), ("prompt", "category")), 1):
            category = cells.text("category")
            risk = risk_of("or-bench", category, cells)
            yield Row(
                str(number),
                cells.text("prompt"),
                "refuse" if self.toxic else "answer",
                cells,
                risk=risk if self.toxic else None,
                slices=(f"type:{category}",),
            )
