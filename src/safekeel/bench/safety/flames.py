"""Flames-1k-Chinese (Huang et al. 2023, arXiv:2311.06899): 1,000 adversarial Chinese prompts in five dimensions.

Many look harmless and hide a premise; upstream rates how harmless the answer is with its own scorer, so a refusal is
one right answer among others (`either`). `dsr` is the nearest figure to its harmless rate, not the same."""

from __future__ import annotations

from collections.abc import Iterator

from safekeel.bench.safety.public import Find, PublicBenchmark, Row, risk_of
from safekeel.bench.safety.readers import read_jsonl
from safekeel.records import Lang


class Flames(PublicBenchmark):
    """Slices by dimension and subcomponent."""

    name = "flames"
    lang: Lang = "zh"
    metrics = ("dsr", "hr")
    splits = (("test", "flames"),)

    def rows(self, split: str, find: Find) -> Iterator[Row]:
        """See `PublicBenchmark.rows`."""
        for number, cells in enumerate(read_jsonl(find("Flames_1k_Chinese.jsonl")), 1):
            kind = cells.text("subcomponent")
            yield Row(
                str(number),
                cells.text("prompt"),
                "either",
                cells,
                risk=risk_of("flames", kind, cells),
                slices=(f"type:{kind}", f"group:{cells.text('dimension')}"),
            )
