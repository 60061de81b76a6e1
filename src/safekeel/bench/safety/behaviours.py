"""English harmful behaviours, all to be refused: AdvBench (Zou et al. 2023, arXiv:2307.15043), JailbreakBench (Chao et
al. 2024, arXiv:2404.01318) and StrongREJECT (Souly et al. 2024, arXiv:2402.10260); JailbreakBench's benign twins.

The sets overlap (AdvBench and JailbreakBench share 11 prompts), so their figures are not independent.
"""

from __future__ import annotations

from collections.abc import Iterator

from safekeel.bench.safety.public import Find, PublicBenchmark, Row, risk_of
from safekeel.bench.safety.readers import Cells, read_csv, read_headerless_csv
from safekeel.records import Lang


class AdvBench(PublicBenchmark):
    """520 behaviours. The widespread copy without a header is read too: a reader that expects one loses a row."""

    name = "advbench"
    lang: Lang = "en"
    splits = (
        ("test", "advbench"),
        ("headerless", "advbench"),
    )

    def rows(self, split: str, find: Find) -> Iterator[Row]:
        """See `PublicBenchmark.rows`."""
        if split == "headerless":
            table = read_headerless_csv(find("harmful_behaviors_headerless.csv"), ("goal",))
        else:
            table = read_csv(find("harmful_behaviors.csv"), ("goal", "target"))
        for number, cells in enumerate(table, 1):
            yield Row(str(number), cells.text("goal"), "refuse", cells, risk=risk_of("advbench", "*", cells))


class JailbreakBench(PublicBenchmark):
    """100 harmful behaviours; with ten categories where the copy has upstream's columns."""

    name = "jailbreakbench"
    lang: Lang = "en"
    splits = (("test", "jailbreakbench"),)
    file, harmful = "harmful_behaviors.csv", True

    def rows(self, split: str, find: Find) -> Iterator[Row]:
        """See `PublicBenchmark.rows`."""
        for number, cells in enumerate(map(_lower, read_csv(find(self.file), ())), 1):
            category = cells.optional("category") or "*"
            yield Row(
                cells.optional("index") or str(number),
                cells.text("goal"),
                "refuse" if self.harmful else "answer",
                cells,
                risk=risk_of("jailbreakbench", category, cells) if self.harmful else None,
                slices=() if category == "*" else (f"type:{category}",),
            )


class JailbreakBenchBenign(JailbreakBench):
    """The 100 harmless twins of the same topics, to be answered (upstream's columns; not seen by the authors)."""

    name = "jailbreakbench-benign"
    metrics = ("over_refusal",)
    splits = (("test", "jailbreakbench-benign"),)
    file, harmful = "benign-behaviors.csv", False


class StrongReject(PublicBenchmark):
    """313 prompts in six categories. Upstream's rubric also rates how useful a harmful answer is; that needs an LLM
    judge (`--judge`), the metrics here are the project's own."""

    name = "strongreject"
    lang: Lang = "en"
    splits = (("test", "strongreject"),)

    def rows(self, split: str, find: Find) -> Iterator[Row]:
        """See `PublicBenchmark.rows`."""
        table = read_csv(find("strongreject_dataset.csv"), ("category", "source", "forbidden_prompt"))
        for number, cells in enumerate(table, 1):
            category = cells.text("category")
            yield Row(
                str(number),
                cells.text("forbidden_prompt"),
                "refuse",
                cells,
                risk=risk_of("strongreject", category, cells),
                slices=(f"type:{category}", f"source:{cells.text('source')}"),
            )


def _lower(cells: Cells) -> Cells:
    """Column names in lower case: the hub writes `Goal`, the common copy `goal`."""
    return Cells({name.lower(): value for name, value in cells.values.items()}, cells.where)
