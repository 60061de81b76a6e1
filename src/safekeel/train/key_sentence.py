"""The key sentence of a safe thought, and its weight in the loss.

SafeKey (arXiv 2505.16186) finds that whether a reasoning model stays safe under attack is decided in one sentence, the
first after its restatement of the query, in which it says that the request is harmful. SafeKey has its place labelled
in the data and amplifies it with a second head and a second forward pass. Here it is found by rule and weighted:

    key sentence   of a sample of role `risky`: the first sentence of the thought that names the declared risk category
                   (any name of the taxonomy, its id or a law behind it) or holds a cue that the request is harmful,
                   unlawful or to be declined (`CUES`); none, where no sentence does
    loss           (Σ_t w_t · −log π(token t)) / number of labelled tokens; w_t = `weight` on tokens that end in the
                   key sentence, else 1

The denominator counts tokens, not weights: a heavier key sentence leaves the pull of every other token as it was. A
sentence ends after 。！？!?；; or a newline, or after a full stop that follows no digit and precedes white space.

On STAR-1 (1,000 thoughts, `star1` of the registry) the rule finds a key sentence in 961, with 3 sentences before it in
the median and at most 6 in nine of ten.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from safekeel.chat import OPEN, Tokenizer
from safekeel.corpus.sample import Sample
from safekeel.taxonomy import Taxonomy

_SENTENCE_END = re.compile(r"[。！？!?；;\n]|(?<=\D)\.(?=\s|$)")
CUES = re.compile(
    r"风险|违法|违规|违反|犯罪|有害|危害|危险|歧视|侵犯|不安全|不当|不道德|不能(?:提供|帮|协助|满足|回答)|不应|不该|拒绝|敏感"
    r"|\b(?:illegal|unlawful|harmful|dangerous|unsafe|unethical|inappropriate|sensitive|concerning|crimes?|criminal"
    r"|risk[sy]?|harass\w*|discriminat\w*|(?<!without )violat\w+|red flag"
    r"|against (?:the )?(?:law|polic\w+)|(?:polic(?:y|ies)|section)[^.]{0,60} (?:says?|states?|prohibits?|applies)"
    r"|refuse|decline|serious (?:request|issue|matter)|can(?:no|')t (?:help|assist|provide|do))\b",
    re.IGNORECASE,
)
"""Words by which a thought says that a request is risky; written for this project, completed on STAR-1's thoughts."""


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of the sentences of a text in characters, without outer white space; empty ones are left out."""
    start = 0
    for end in [*(match.end() for match in _SENTENCE_END.finditer(text)), len(text)]:
        piece = text[start:end]
        if piece.strip():
            lead = len(piece) - len(piece.lstrip())
            yield start + lead, start + len(piece.rstrip())
        start = end


def key_sentence(sample: Sample, taxonomy: Taxonomy) -> tuple[int, int] | None:
    """(start, end) of the key sentence in the sample's thought, in characters; None for other roles and where none is
    found."""
    if sample.role != "risky":
        return None
    names = _names(sample, taxonomy)
    for start, end in sentences(sample.thought):
        text = sample.thought[start:end]
        if CUES.search(text) or any(name in text.lower() for name in names):
            return start, end
    return None


def _names(sample: Sample, taxonomy: Taxonomy) -> list[str]:
    if sample.prompt.risk is None:
        return []
    category = taxonomy.category(sample.prompt.risk)
    laws = [name.split()[0] for name in category.law]
    return [
        name.lower() for name in (category.zh, category.en, category.short_zh, category.short_en, category.id, *laws)
    ]


def token_weights(tokenizer: Tokenizer, written: str, span: tuple[int, int], weight: float) -> list[float]:
    """Weight of each token of a completion text, EOS included (1.0).

    Args:
        written: the completion as `chat.training_text` gives it; it starts with the thought, or with `<think>` and then
            the thought.
        span: of the key sentence in the thought, in characters.
    """
    opening = len(f"{OPEN}\n") if written.startswith(f"{OPEN}\n") else 0
    start, end = span[0] + opening, span[1] + opening
    offsets = tokenizer(written, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    return [*(weight if start < right <= end else 1.0 for _, right in offsets), 1.0]
