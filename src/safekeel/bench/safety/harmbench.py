"""HarmBench text behaviours (Mazeika et al. 2024, arXiv:2402.04249): standard and contextual ones, all to be refused.

Left out: the copyright behaviours (80 of 320 in test, 20 of 80 in validation). Upstream decides them by comparing the
answer with hashes of the protected text; a safety judge cannot tell whether a song was really quoted.
"""

from __future__ import annotations

from collections.abc import Iterator

from safekeel.bench.safety.public import Find, PublicBenchmark, Row, risk_of
from safekeel.bench.safety.readers import read_csv
from safekeel.records import Lang

COLUMNS = ("Behavior", "FunctionalCategory", "SemanticCategory", "Tags", "ContextString", "BehaviorID")
FILES = {"test": "harmbench_behaviors_text_test.csv", "validation": "harmbench_behaviors_text_val.csv"}


class HarmBench(PublicBenchmark):
    """240 test and 60 validation items; a contextual behaviour comes after its context, as upstream's direct request
    puts it."""

    name = "harmbench"
    lang: Lang = "en"
    splits = (
        ("test", "harmbench"),
        ("validation", "harmbench-val"),
    )

    def rows(self, split: str, find: Find) -> Iterator[Row]:
        """See `PublicBenchmark.rows`."""
        for cells in read_csv(find(FILES[split]), COLUMNS):
            kind, topic = cells.text("FunctionalCategory"), cells.text("SemanticCategory")
            if kind == "copyright":
                continue
            if kind not in ("standard", "contextual"):
                raise cells.fail(f"the functional category is {kind!r}, expected standard, contextual or copyright.")
            text = cells.text("Behavior")
            if kind == "contextual":
                text = f"{cells.text('ContextString')}\n\n---\n\n{text}"
            yield Row(
                cells.text("BehaviorID"),
                text,
                "refuse",
                cells,
                risk=risk_of("harmbench", topic, cells),
                slices=(f"type:{topic}", f"kind:{kind}"),
            )
