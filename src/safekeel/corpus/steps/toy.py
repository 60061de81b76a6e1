"""Duplicates and contamination of the nano loop: whole lists at once, no Chinese folding, nothing but datasketch.

The toy corpus is made from templates: most of a prompt is shared text and one risky phrase differs. So near duplicates
start at 0.95, and contamination is also decided by the phrase. Real corpora use `duplicates.py` and `contamination.py`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from datasketch import MinHash, MinHashLSH

from safekeel.corpus.sample import Rejected, Sample
from safekeel.records import Prompt

NUM_PERMUTATIONS = 64
SHINGLE = 5  # characters: works for Chinese and English alike
NEAR_DUPLICATE = 0.95  # Jaccard of shingles; toy templates share most of their text, so only near-identity counts
CONTAMINATED = 0.95


def normalise(text: str) -> str:
    """NFKC, lower case, no zero-width characters, punctuation or spaces: what two copies of a prompt have in common."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", text).lower())


def user_text(prompt: Prompt) -> str:
    return "\n".join(message.content for message in prompt.messages if message.role != "assistant")


def shingles(text: str) -> frozenset[str]:
    """Character shingles of the normalised text; a text shorter than one shingle is its own."""
    clean = normalise(text)
    return frozenset(clean[i : i + SHINGLE] for i in range(max(1, len(clean) - SHINGLE + 1)))


def jaccard(left: frozenset[str], right: frozenset[str]) -> float:
    return len(left & right) / len(left | right)


class NearIndex:
    """MinHash LSH over prompts; candidates are checked with the exact Jaccard, so a match is never a hash accident."""

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self._lsh = MinHashLSH(threshold=threshold, num_perm=NUM_PERMUTATIONS)
        self._entries: list[tuple[str, frozenset[str]]] = []  # (name, shingles); names need not be unique

    def _hash(self, pieces: frozenset[str]) -> MinHash:
        sketch = MinHash(num_perm=NUM_PERMUTATIONS)
        sketch.update_batch([piece.encode() for piece in pieces])
        return sketch

    def match(self, text: str) -> tuple[str, float] | None:
        """The name of an entry at least as similar as the threshold, with its similarity."""
        pieces = shingles(text)
        for index in self._lsh.query(self._hash(pieces)):
            name, entry = self._entries[index]
            if (similarity := jaccard(pieces, entry)) >= self.threshold:
                return name, similarity
        return None

    def add(self, name: str, text: str) -> None:
        pieces = shingles(text)
        self._lsh.insert(len(self._entries), self._hash(pieces))
        self._entries.append((name, pieces))


def drop_duplicates(samples: Iterable[Sample]) -> tuple[list[Sample], list[Rejected]]:
    """Keep the first of each group of exact or near duplicates (by prompt)."""
    kept: list[Sample] = []
    rejected: list[Rejected] = []
    exact: dict[str, str] = {}
    near = NearIndex(NEAR_DUPLICATE)
    for sample in samples:
        text = user_text(sample.prompt)
        if twin := exact.get(normalise(text)):
            rejected.append(Rejected(sample=sample, reason="exact_duplicate", evidence=twin))
        elif match := near.match(text):
            rejected.append(
                Rejected(sample=sample, reason="near_duplicate", evidence=f"{match[0]} (Jaccard {match[1]:.2f})")
            )
        else:
            exact[normalise(text)] = sample.id
            near.add(sample.id, text)
            kept.append(sample)
    return kept, rejected


def decontaminate(samples: Iterable[Sample], held_out: Iterable[Prompt]) -> tuple[list[Sample], list[Rejected]]:
    """Drop every sample whose prompt equals or nearly equals a held-out item, or contains a held-out risky phrase."""
    near = NearIndex(CONTAMINATED)
    exact: dict[str, str] = {}
    phrases: dict[str, str] = {}
    for prompt in held_out:
        text = user_text(prompt)
        if normalise(text) not in exact:
            exact[normalise(text)] = prompt.id
            near.add(prompt.id, text)
        if phrase := prompt.meta.get("phrase"):
            phrases.setdefault(normalise(phrase), prompt.id)
    kept: list[Sample] = []
    rejected: list[Rejected] = []
    for sample in samples:
        text = user_text(sample.prompt)
        evidence = exact.get(normalise(text)) or phrases.get(normalise(sample.prompt.meta.get("phrase", "")))
        if evidence is None and (match := near.match(text)):
            evidence = f"{match[0]} (Jaccard {match[1]:.2f})"
        if evidence is None:
            kept.append(sample)
        else:
            rejected.append(Rejected(sample=sample, reason="contaminated", evidence=evidence))
    return kept, rejected
