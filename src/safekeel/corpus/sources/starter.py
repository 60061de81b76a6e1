"""Source: the project's own prompts, each risky one with its harmless twin."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from safekeel.corpus.sample import Rejected, Sample
from safekeel.corpus.sources.base import STEP, Row, SourceBase
from safekeel.data.starter import LICENCE, SOURCE, StarterRow, read_starter, starter_files
from safekeel.errors import UsageError
from safekeel.records import Lang, Message, Prompt
from safekeel.taxonomy import Taxonomy

LANGS: tuple[Lang, ...] = ("zh", "en")


class StarterSource(SourceBase):
    """Two samples per row and language: `starter-A.1.a-001/zh` and `starter-A.1.a-001/zh/counter`, linked by `pair`."""

    def __init__(self, taxonomy: Taxonomy, folder: Path | None = None) -> None:
        """Read and check all rows.

        Raises:
            DataError: a malformed row.
            UsageError: none of their categories is in the taxonomy.
        """
        super().__init__("starter", LICENCE, files=starter_files(folder))
        self._rows = read_starter(folder)
        self._known = {category.id for category in taxonomy.categories}
        if not any(row.category in self._known for row in self._rows):
            raise UsageError(
                f"SafeKeel's own prompts are sorted by TC260 categories, of which the taxonomy {taxonomy.name!r} has "
                "none: set sources.starter = false and name your own prompts (sources.files)."
            )

    def rows(self) -> Iterator[Row]:
        """See `Source.rows`; rows of categories that the taxonomy lacks are rejected."""
        for row in self._rows:
            for lang in LANGS:
                for sample in pair_samples(row, lang):
                    yield sample if row.category in self._known else _unknown(sample, row.category)


def pair_samples(row: StarterRow, lang: Lang) -> tuple[Sample, Sample]:
    """The risky request and its counterpart in one language. All samples of a row are one cluster."""
    risky_id, counter_id = f"{row.id}/{lang}", f"{row.id}/{lang}/counter"
    meta = {"cluster": row.id, "form": row.form, "trigger": list(row.triggers(lang)), "category": row.category}
    risky = Prompt(
        id=risky_id,
        messages=(Message(role="user", content=row.request(lang)),),
        lang=lang,
        risk=row.category,
        expect=row.expect,
        target=None,
        source=SOURCE,
        licence=LICENCE,
        meta=meta,
    )
    counter = risky.model_copy(
        update={
            "id": counter_id,
            "messages": (Message(role="user", content=row.counter(lang)),),
            "risk": None,
            "expect": "answer",
        }
    )
    return (
        Sample(id=risky_id, role="risky", prompt=risky, pair=counter_id),
        Sample(id=counter_id, role="counter", prompt=counter, pair=risky_id),
    )


def _unknown(sample: Sample, category: str) -> Rejected:
    evidence = f"the taxonomy has no category {category}"
    return Rejected(sample=sample, where=sample.id, step=STEP, reason="unknown_category", evidence=evidence)
