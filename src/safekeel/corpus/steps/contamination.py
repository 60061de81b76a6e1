"""Step: no row may contain, copy or nearly copy a held-out item (`held_out.py`).

    rule        fires when                                                        from
    exact       the comparison keys are equal
    ngram       13 words in a row are shared, or 26 Han characters,               GPT-3, arXiv:2005.14165, appendix C
                and 40% of the n-grams of the shorter of item and row             after Qwen2; measured, see `run_share`
    share       70% of the item's 8-grams of words are in the row,                PaLM, arXiv:2204.02311, section 8
                or 60% of its 13-grams of Han characters                          Qwen2, arXiv:2407.10671
    contained   a short item stands in the row and is 70% of it                   as PaLM's share
    near        Jaccard of character 5-grams >= 0.8                               as for duplicates

Tokens are words and single Han characters (`normalise.words`). A Chinese word has about 1.6 characters, so 13
characters are 8 words, and 26 are rather more than 13 words. Items shorter than 8 words or 13 characters are compared
by `exact`, `contained` and `near`, those below 5 words or 8 characters by `exact` and `near` alone, and an n-gram that
more than 10 items share is no evidence: "what is this" in a longer prompt, or an instruction, is nobody's benchmark.

Hashes propose, texts decide: every pair is compared as text before a row is dropped. False positives on unrelated sets
are measured in `docs/results/corpus/contamination.md`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic import Field

from safekeel.config import StageConfig
from safekeel.corpus.sample import Sample
from safekeel.corpus.steps.band_index import BandHasher
from safekeel.corpus.steps.base import BATCH_SIZE, Drop, batches
from safekeel.corpus.steps.held_out import HeldOutItem
from safekeel.corpus.steps.ngram_index import CHARACTERS, RUN_CHARACTERS, RUN_WORDS, Ngram, NgramIndex, ngrams
from safekeel.corpus.steps.normalise import compared_text, comparison_key, words
from safekeel.corpus.steps.similar import SimilarTexts


class ContaminationConfig(StageConfig):
    """Thresholds; the module says where each comes from."""

    near: float = Field(0.8, ge=0.5, le=1)
    """Jaccard of character 5-grams; 1 = no near duplicates are sought."""
    run_words: int = Field(RUN_WORDS, ge=8)
    run_characters: int = Field(RUN_CHARACTERS, ge=13)
    run_share: float = Field(0.4, ge=0, le=1)
    """Part of the shorter text's n-grams that must be shared besides the run. 0 = GPT-3's rule. Of the rows of MMLU
    dev that share 13 words with an item of MMLU val, those that only share an instruction or a set of options (I only,
    II only …) have at most 0.36, those that share a question or a passage at least 0.86."""
    share_words: float = Field(0.7, gt=0, le=1)
    share_characters: float = Field(0.6, gt=0, le=1)
    contained: float = Field(0.7, gt=0, le=1)
    """Part of the row's tokens that a short item must be."""


@dataclass(frozen=True, slots=True)
class Hit:
    """Why a row is contaminated."""

    rule: str
    item: HeldOutItem
    share: float
    """Jaccard (`near`), part of the item's n-grams (`share`) or of the shorter text's (`ngram`), of the row's tokens
    (`contained`)."""
    matched: str
    """Text in common, folded."""

    def evidence(self) -> str:
        """`rule=… benchmark=… item=… share=… sha256=…`; the text itself only of an ability set, which asks no harm."""
        digest = hashlib.sha256(self.matched.encode()).hexdigest()[:12]
        text = f" text={self.matched}" if self.item.is_ability else ""
        return (
            f"rule={self.rule} benchmark={self.item.benchmark} item={self.item.id} share={self.share:.2f} "
            f"sha256={digest}{text}"
        )


class Contamination:
    """Step: see the module. A row that is dropped has the reason `contaminated` and `Hit.evidence` as evidence.

    Args:
        items: what to compare with; of texts with one comparison key the first stands for all.
        hasher: the one of `Duplicates`, so that each text is hashed once; its threshold must not be higher than `near`.
    """

    name = "contamination"

    def __init__(
        self, items: Iterable[HeldOutItem], config: ContaminationConfig | None = None, hasher: BandHasher | None = None
    ) -> None:
        self.config = config or ContaminationConfig()
        self._hasher = (hasher or BandHasher(self.config.near)).finds(self.config.near)
        self._items: list[HeldOutItem] = []
        self._number: dict[str, int] = {}  # key -> place in self._items
        for item in items:
            key = comparison_key(item.text)
            if key not in self._number:
                self._number[key] = len(self._items)
                self._items.append(item)
        self._ngrams = NgramIndex([item.text for item in self._items])
        self._similar = SimilarTexts()
        for keys in batches(self._number, BATCH_SIZE):
            for key in keys:
                self._similar.keep(key)
            self._similar.index(self._hasher(keys))

    def __call__(self, batch: Sequence[Sample]) -> list[Sample | Drop]:
        hits = self.hits([compared_text(sample.prompt) for sample in batch])
        return [
            sample if hit is None else Drop("contaminated", hit.evidence())
            for sample, hit in zip(batch, hits, strict=True)
        ]

    def hits(self, texts: Sequence[str]) -> list[Hit | None]:
        """For each text the first rule that fires, in the order of the module's table."""
        keys = [comparison_key(text) for text in texts]
        sharing = self._ngrams.candidates(texts)
        alike = {} if self.config.near == 1 else self._similar.candidates(self._hasher(keys))
        found: list[Hit | None] = []
        for place, (text, key) in enumerate(zip(texts, keys, strict=True)):
            hit: Hit | None = None
            if (number := self._number.get(key)) is not None:
                hit = Hit("exact", self._items[number], 1.0, key)
            elif place in sharing:
                hit = self._overlap(words(text), sharing[place])
            if hit is None and place in alike:
                hit = self._near(key, alike[place])
            found.append(hit)
        return found

    def _near(self, key: str, candidates: Sequence[int]) -> Hit | None:
        best = self._similar.most_similar(key, candidates, self.config.near)
        return None if best is None else Hit("near", self._items[best[0]], best[1], self._similar.keys[best[0]])

    def _overlap(self, row: list[str], candidates: Sequence[int]) -> Hit | None:
        """Of the items that share an n-gram with the row, the one that shares most by a rule that fires."""
        best: Hit | None = None
        for number in candidates:
            tokens = words(self._items[number].text)
            if len(tokens) < self._ngrams.scales[number].size:
                hit = self._contained(row, tokens, self._items[number])
            else:
                hit = self._shared(row, tokens, number)
            if hit is not None and (best is None or hit.share > best.share):
                best = hit
        return best

    def _contained(self, row: list[str], tokens: list[str], item: HeldOutItem) -> Hit | None:
        part = len(tokens) / len(row)
        if part < self.config.contained or tuple(tokens) not in set(ngrams(row, len(tokens))):
            return None
        return Hit("contained", item, part, " ".join(tokens))

    def _shared(self, row: list[str], tokens: list[str], number: int) -> Hit | None:
        is_chinese = self._ngrams.scales[number] == CHARACTERS
        size = self._ngrams.scales[number].size
        own, theirs = (self._counted(text, size) for text in (tokens, row))
        if not (shared := own & theirs):
            return None
        item, share, of_shorter = self._items[number], len(shared) / len(own), len(shared) / min(len(own), len(theirs))
        run = self.config.run_characters if is_chinese else self.config.run_words
        if of_shorter >= self.config.run_share and (common := self._run(row, tokens, run, size)) is not None:
            return Hit("ngram", item, of_shorter, " ".join(common))
        if share >= (self.config.share_characters if is_chinese else self.config.share_words):
            return Hit("share", item, share, " ".join(next(part for part in ngrams(tokens, size) if part in shared)))
        return None

    def _counted(self, tokens: list[str], size: int) -> set[Ngram]:
        """The n-grams of a text but for stock phrases."""
        return set(ngrams(tokens, size)) - self._ngrams.stock

    def _run(self, row: list[str], tokens: list[str], run: int, size: int) -> Ngram | None:
        """The first run of `run` tokens that both have and that is more than stock phrases."""
        theirs = set(ngrams(row, run))
        for common in ngrams(tokens, run):
            if common in theirs and not all(part in self._ngrams.stock for part in ngrams(common, size)):
                return common
        return None
