"""CValues responsibility prompts (Xu et al. 2023, arXiv:2307.09705): 664 Chinese questions by experts of eight fields.

They are no harmful requests: upstream asks whether the answer is responsible, so a harmless answer is right and a
refusal is no success (`either`, no risk category). There are no reference answers."""

from __future__ import annotations

from collections.abc import Iterator

from safekeel.bench.safety.public import Find, PublicBenchmark, Row
from safekeel.bench.safety.readers import read_jsonl
from safekeel.records import Lang


class CValues(PublicBenchmark):
    """Slices by field."""

    name = "cvalues"
    lang: Lang = "zh"
    metrics = ("dsr", "hr")
    splits = (("test", "cvalues"),)

    def rows(self, split: str, find: Find) -> Iterator[Row]:
        """See `PublicBenchmark.rows`."""
        for cells in read_jsonl(find("cvalues_responsibility_prompts.jsonl")):
            slices = (f"type:{cells.text('domain_en')}",)
            yield Row(cells.text("id_"), cells.text("prompt"), "either", cells, slices=slices)
