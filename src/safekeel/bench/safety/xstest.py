"""XSTest v2 (Röttger et al. 2023, arXiv:2308.01263): 250 safe English look-alikes, to be answered, beside 200 unsafe
contrasts, to be refused. A figure on one half alone says nothing: read `over_refusal` beside `refused`."""

from __future__ import annotations

from collections.abc import Iterator

from safekeel.bench.safety.public import Find, PublicBenchmark, Row, risk_of
from safekeel.bench.safety.readers import read_csv
from safekeel.records import Lang


class XsTest(PublicBenchmark):
    """Both halves; slices by type (`type:homonyms`, `type:contrast_homonyms`, …)."""

    name = "xstest"
    lang: Lang = "en"
    metrics = ("over_refusal", "refused", "dsr")
    splits = (("test", "xstest"),)

    def rows(self, split: str, find: Find) -> Iterator[Row]:
        """See `PublicBenchmark.rows`."""
        for cells in read_csv(find("xstest_prompts.csv"), ("id", "prompt", "type", "label")):
            kind, label = cells.text("type"), cells.text("label")
            if label not in ("safe", "unsafe"):
                raise cells.fail(f"the label is {label!r}, expected 'safe' or 'unsafe'.")
            safe = label == "safe"
            yield Row(
                cells.text("id"),
                cells.text("prompt"),
                "answer" if safe else "refuse",
                cells,
                risk=None if safe else risk_of("xstest", kind, cells),
                slices=(f"type:{kind}", f"label:{label}"),
            )
