"""Folds by prompt: all texts on one prompt, and on prompts nearly like it, are held out together."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from safekeel.judges.linear_features import Features, Space, hashed, plain

NUM_FOLDS = 5
NEAR = 0.5
"""Jaccard similarity of the sets of 3-grams from which two prompts count as near duplicates; XSTest pairs each safe
prompt with an unsafe one of almost the same words."""
_PROMPTS = Features(spaces=(Space(None, 3, 3),), bits=18, max_chars=2_000)


def same_prompt(prompt: str) -> str:
    """What two writings of one prompt share."""
    return plain(prompt, _PROMPTS.max_chars)


def folds_of(prompts: Sequence[str], num_folds: int = NUM_FOLDS) -> dict[str, int]:
    """Fold of each prompt, by `same_prompt`. It depends on the prompts near it, and on neither order nor a seed."""
    known = sorted({same_prompt(prompt) for prompt in prompts})
    rows = [hashed(prompt, _PROMPTS).buckets for prompt in known]
    starts = np.cumsum([0, *map(len, rows)])
    has = csr_matrix((np.ones(starts[-1], dtype=np.float32), np.concatenate(rows), starts), (len(known), 1 << 18))
    shared = (has @ has.T).tocoo()
    sizes = np.diff(starts)
    near = shared.data >= NEAR * (sizes[shared.row] + sizes[shared.col] - shared.data)
    graph = csr_matrix((shared.data[near], (shared.row[near], shared.col[near])), shared.shape)
    _, cluster = connected_components(graph, directed=False)
    first: dict[int, str] = {}
    for prompt, number in zip(known, cluster, strict=True):
        first.setdefault(int(number), prompt)
    return {
        prompt: int(hashlib.sha256(first[int(number)].encode("utf-8", "replace")).hexdigest(), 16) % num_folds
        for prompt, number in zip(known, cluster, strict=True)
    }
