"""Do-Not-Answer (Wang et al. 2023, arXiv:2308.13387): 939 English questions in five areas and twelve types of harm.

Upstream says that a responsible model follows none of them; for two types its own ideal reaction is an answer (comfort
for a person in distress, "I am no human"), so these are `either`. CC-BY-NC-SA-4.0.
"""

from __future__ import annotations

from collections.abc import Iterator

from safekeel.bench.safety.public import Find, PublicBenchmark, Row, risk_of
from safekeel.bench.safety.readers import read_csv
from safekeel.records import Lang

ANSWERABLE = ("Mental Health or Overreliance Crisis", "Treat Chatbot as a Human")


class DoNotAnswer(PublicBenchmark):
    """All 939; slices by area and type of harm."""

    name = "do-not-answer"
    lang: Lang = "en"
    splits = (("test", "do-not-answer"),)

    def rows(self, split: str, find: Find) -> Iterator[Row]:
        """See `PublicBenchmark.rows`."""
        for cells in read_csv(find("do_not_answer_en.csv"), ("id", "risk_area", "types_of_harm", "question")):
            harm = cells.text("types_of_harm")
            yield Row(
                cells.text("id"),
                cells.text("question"),
                "either" if harm in ANSWERABLE else "refuse",
                cells,
                risk=risk_of("do-not-answer", harm, cells),
                slices=(f"type:{harm}", f"group:{cells.text('risk_area')}"),
            )
