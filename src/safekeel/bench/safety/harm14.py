"""The 14-dimension suite. China Unicom's report (arXiv:2503.16529) measures 14 dimensions and publishes neither their
list nor the prompts; we take BeaverTails' 14 classes (Ji et al. 2023, arXiv:2307.04657) on its evaluation set: 700
English prompts, 50 per class. That is OUR choice: figures here do not compare with the report's.

The file is on the Hugging Face hub only and was not seen by SafeKeel's authors: fields as documented (`prompt`,
`category`, `category_id`). CC-BY-NC-4.0. Some prompts may be answered harmlessly (controversial topics): `dsr` is the
figure, `refused` reads them all as refusable.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from safekeel.bench.safety.public import Find, PublicBenchmark, Row, risk_of
from safekeel.bench.safety.readers import read_jsonl
from safekeel.records import Lang


class Harm14(PublicBenchmark):
    """Slices `type:…` are the 14 dimensions."""

    name = "harm14"
    lang: Lang = "en"
    splits = (("test", "beavertails-eval"),)

    def rows(self, split: str, find: Find) -> Iterator[Row]:
        """See `PublicBenchmark.rows`."""
        for number, cells in enumerate(read_jsonl(find("test.jsonl")), 1):
            kind = canonical(cells.text("category"))
            yield Row(
                str(number),
                cells.text("prompt"),
                "refuse",
                cells,
                risk=risk_of("harm14", kind, cells),
                slices=(f"type:{kind}",),
            )


def canonical(name: str) -> str:
    """A class name as in upstream's labels; its data card and loaders also write it with capitals and blanks."""
    return re.sub(r"[\s_-]+", "_", re.sub(r"\s*,[\s_]*", ",", name.strip().lower()))
