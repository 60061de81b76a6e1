"""Step: of rows with the same or nearly the same prompt the first is kept.

Exact: equal comparison keys and equal numbers. Near: Jaccard of character 5-grams, over the whole corpus and all roles.
Three things that look like near duplicates are not:
- twins: a risky prompt and its harmless counterpart differ by few words on purpose (an exact copy still goes);
- another exercise: a row to be solved with other numbers has another solution;
- prompts that an attack disguised: the wrapper they share outweighs the request; only exact copies go.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field

from safekeel.config import StageConfig
from safekeel.corpus.sample import Sample
from safekeel.corpus.steps.band_index import BandHasher
from safekeel.corpus.steps.base import Drop
from safekeel.corpus.steps.normalise import compared_text, comparison_key, fold
from safekeel.corpus.steps.similar import SimilarTexts, candidates_within

_DIGIT = re.compile(r"\d")
_NUMBER = re.compile(r"\d+|(?<=\d)\s*([-+*/×÷^=<>%])\s*(?=\d)")


class DuplicatesConfig(StageConfig):
    """When two prompts are one."""

    near: float = Field(0.8, ge=0.5, le=1)
    """Jaccard of character 5-grams from which prompts are near duplicates; 1 = exact copies only. 0.8 is the threshold
    of Lee et al. (arXiv:2107.06499) and SlimPajama; FineWeb's bands (14 of 8) put it near 0.75 on words. Below 0.5 the
    index would miss pairs."""


@dataclass(frozen=True, slots=True)
class _Row:
    """What is compared, and what is remembered of a kept row."""

    id: str
    pair: str | None
    key: str
    numbers: str
    solve: bool
    attacked: bool

    @property
    def identity(self) -> str:
        """Equal for exact copies: `3 + 45` and `34 + 5` have one key and are two exercises."""
        return f"{self.key}\0{self.numbers}" if self.numbers else self.key

    def may_copy(self, kept: _Row) -> bool:
        """Whether a similar kept row makes this one a near duplicate; see the module for what does not."""
        if self.pair == kept.id or kept.pair == self.id:
            return False
        return self.numbers == kept.numbers or not (self.solve or self.key == kept.key)


class Duplicates:
    """Step: see the module. Remembers every kept row, in about 1 kB each.

    Args:
        hasher: share it with `Contamination`, so that each text is hashed once.
    """

    name = "duplicates"

    def __init__(self, config: DuplicatesConfig | None = None, hasher: BandHasher | None = None) -> None:
        self.config = config or DuplicatesConfig()
        self._hasher = (hasher or BandHasher(self.config.near)).finds(self.config.near)
        self._exact: dict[str, str] = {}  # identity -> id of the kept row
        self._similar = SimilarTexts()
        self._kept: list[_Row] = []  # by their numbers in self._similar

    def __call__(self, batch: Sequence[Sample]) -> list[Sample | Drop]:
        rows = [_row(sample) for sample in batch]
        near = self._near_drops(rows)
        outcomes: list[Sample | Drop] = []
        for sample, row in zip(batch, rows, strict=True):
            identity = row.identity
            if twin := self._exact.get(identity):
                outcomes.append(Drop("exact_duplicate", twin))
            elif drop := near.get(identity):
                outcomes.append(drop)
            else:
                self._exact[identity] = row.id
                outcomes.append(sample)
        return outcomes

    def _near_drops(self, rows: Sequence[_Row]) -> dict[str, Drop]:
        """Identities of the batch that are near duplicates. The others, if new, are remembered for the next batch."""
        if self.config.near == 1:
            return {}
        first: dict[str, _Row] = {}
        for row in rows:
            first.setdefault(row.identity, row)
        fresh = [row for identity, row in first.items() if not row.attacked and identity not in self._exact]
        bands = self._hasher([row.key for row in fresh])
        before, within = self._similar.candidates(bands), candidates_within(bands)
        numbers: dict[int, int] = {}  # place in `fresh` of a row that is kept -> its number
        drops: dict[str, Drop] = {}
        for place, row in enumerate(fresh):
            candidates = [
                *before.get(place, ()),
                *(numbers[earlier] for earlier in within.get(place, ()) if earlier in numbers),
            ]
            allowed = [number for number in candidates if row.may_copy(self._kept[number])]
            if found := self._similar.most_similar(row.key, allowed, self.config.near):
                drops[row.identity] = Drop("near_duplicate", f"{self._kept[found[0]].id} (Jaccard {found[1]:.2f})")
            else:
                numbers[place] = self._similar.keep(row.key)
                self._kept.append(row)
        self._similar.index(bands[list(numbers)])
        return drops


def _row(sample: Sample) -> _Row:
    text = compared_text(sample.prompt)
    prompt = sample.prompt
    return _Row(
        sample.id,
        sample.pair,
        comparison_key(text),
        _numbers(text),
        prompt.expect == "solve",
        prompt.attack is not None,
    )


def _numbers(text: str) -> str:
    """Runs of digits and the operators between them, in order; empty where there is no digit."""
    folded = fold(text)
    if _DIGIT.search(folded) is None:
        return ""
    return " ".join(match[1] or match[0] for match in _NUMBER.finditer(folded))
