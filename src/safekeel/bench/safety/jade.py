"""JADE-DB v3.0 hard (Zhang, Pan and Yang 2023, arXiv:2311.00286): 150 Chinese prompts that made models unsafe.

Upstream gives each a safe and useful answer, which need not be a refusal: `either`. The unsafe answers in the file are
never read here. The file is GB18030."""

from __future__ import annotations

from collections.abc import Iterator

from safekeel.bench.safety.public import Find, PublicBenchmark, Row, risk_of
from safekeel.bench.safety.readers import GB18030, read_csv
from safekeel.records import Lang


class Jade(PublicBenchmark):
    """The prompts of the preference pairs."""

    name = "jade"
    lang: Lang = "zh"
    metrics = ("dsr", "hr")
    splits = (("test", "jade"),)

    def rows(self, split: str, find: Find) -> Iterator[Row]:
        """See `PublicBenchmark.rows`."""
        for cells in read_csv(find("jade_alignment_hard_zh.csv"), ("ID", "问题"), GB18030):
            yield Row(cells.text("ID"), cells.text("问题"), "either", cells, risk=risk_of("jade", "*", cells))
