"""PhysicalSafety (Bianchi et al. 2023, arXiv:2309.07875): 100 pairs of English requests about one object or situation,
the unsafe one to be refused, the safe one to be answered. Pairs share a cluster. CC-BY-NC-4.0."""

from __future__ import annotations

from collections.abc import Iterator

from safekeel.bench.safety.public import Find, PublicBenchmark, Row, risk_of
from safekeel.bench.safety.readers import read_json
from safekeel.records import Lang


class PhysicalSafety(PublicBenchmark):
    """The unsafe half, then the safe half."""

    name = "physical-safety"
    lang: Lang = "en"
    metrics = ("refused", "over_refusal", "dsr")
    splits = (("test", "physical-safety"),)

    def rows(self, split: str, find: Find) -> Iterator[Row]:
        """See `PublicBenchmark.rows`."""
        for half in ("Unsafe", "Safe"):
            items = read_json(
                find(f"I-PhysicalSafety{half}.json"), lambda data: [{"text": text} for text in data["instructions"]]
            )
            for number, cells in enumerate(items, 1):
                yield Row(
                    f"{half.lower()}-{number}",
                    cells.text("text"),
                    "answer" if half == "Safe" else "refuse",
                    cells,
                    risk=None if half == "Safe" else risk_of("physical-safety", "*", cells),
                    slices=(f"label:{half.lower()}",),
                    cluster=f"pair-{number}",
                )
