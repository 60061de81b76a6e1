"""`degenerate`: what no single row shows, said in sentences: a corpus that teaches a reflex instead of judgement.

Fixed refusals and one template for all thoughts are learnt as shortcuts: DirectRefusal data cost s1.1-32B 30.9 points
of reasoning where reasoned refusals cost 7.1 (Safety Tax, arXiv 2503.00555), safety by shortcuts reaches 99% defence
while over-refusal explodes (DeShortcut-Align), and safety that lives in the first tokens goes with them (Shallow
Alignment, arXiv 2406.05946). STAR-1, where 15% of the answers are one sentence and 60% open alike, makes a 7B refuse
34% of XSTest's harmless prompts against 6.7% for varied reasoning with harmless items (arXiv 2505.15404).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from pydantic import Field

from safekeel.config import StageConfig
from safekeel.corpus.sample import Sample
from safekeel.judges.rules import RulesJudge
from safekeel.records import Lang

LANGS: dict[Lang, str] = {"zh": "Chinese", "en": "English"}
_WORDS = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]|[^\s\W\u3400-\u4dbf\u4e00-\u9fff]+")


class DegenerateConfig(StageConfig):
    """Where a warning begins. Measured beside each: STAR-1 (1,000 safe-reasoning rows) and JADE's 150 safe answers."""

    min_rows: int = Field(20, ge=2)
    """Fewer rows of a kind and language say nothing about their variety."""
    max_same_answer: float = Field(0.1, gt=0, le=1)
    """Share of one text among the answers to risky prompts. STAR-1 0.15, JADE 0.01."""
    max_same_opening: float = Field(0.5, gt=0, le=1)
    """Share of one first 20 characters. STAR-1 0.60 of the answers and 0.68 of the thoughts, JADE 0.02."""
    max_shared_thought: float = Field(0.1, gt=0, le=1)
    """Mean Jaccard of word 3-grams over pairs of thoughts. STAR-1 0.03; the nano world's templates 0.13 to 0.22."""
    min_distinct: float = Field(0.15, ge=0, le=1)
    """Distinct-2 (arXiv 1510.03055) of up to 200 answers: different word pairs among all. STAR-1 0.61, JADE 0.26,
    the nano world 0.06."""
    max_refused_counters: float = Field(0.02, ge=0, le=1)
    """Share of counter samples with a refusal cue. The cues fire on 1% of alpaca's answers, a few rightly."""
    min_length_spread: float = Field(0.1, ge=0, le=1)
    """Standard deviation of the lengths over their mean. STAR-1 0.28 for thoughts, JADE 0.36 for answers."""
    sample_size: int = Field(200, ge=2)
    """Texts compared pair by pair, evenly spaced."""


def degenerate(samples: Sequence[Sample], config: DegenerateConfig | None = None) -> list[str]:
    """Warnings, the gravest first; empty for a varied corpus. Each says how many, out of how many, and what to do."""
    config = config or DegenerateConfig()
    if not samples:
        return ["The corpus is EMPTY: no sample was kept. Look at the reasons in rejected.jsonl."]
    warnings: list[str] = []
    for lang, language in LANGS.items():
        risky = [sample for sample in samples if sample.role == "risky" and sample.prompt.lang == lang]
        warnings += _answers([sample.answer for sample in risky], language, config)
        warnings += _thoughts([sample.thought for sample in risky], language, config)
    return [*warnings, *_missing_counters(samples), *_refused_counters(samples, config)]


def _answers(texts: Iterable[str], language: str, config: DegenerateConfig) -> list[str]:
    answers = _filled(texts)
    total = len(answers)
    if total < config.min_rows:
        return []
    found = []
    same, opening = _most(answers), _most(text[:20] for text in answers)
    if same / total > config.max_same_answer:
        found.append(
            f"{same} of {total} {language} answers to risky prompts ({same / total:.0%}) are THE SAME TEXT (at most "
            f"{config.max_same_answer:.0%}): a model learns the sentence, not the judgement, and gives it to harmless "
            "prompts too. Keep one of them, or synthesise again with a temperature above 0 and more candidates."
        )
    elif opening / total > config.max_same_opening:
        found.append(
            f"{opening} of {total} {language} answers to risky prompts ({opening / total:.0%}) open with the same 20 "
            f"characters (at most {config.max_same_opening:.0%}): safety then hangs on the first tokens, which a "
            "prefix attack takes away. Mix styles of refusal, or leave out some of these rows."
        )
    distinct = distinct_bigrams(_spread(answers, config.sample_size))
    if distinct < config.min_distinct:
        found.append(
            f"{language} answers to risky prompts use few wordings: distinct-2 is {distinct:.2f}, expected at least "
            f"{config.min_distinct:.2f}. Have them written per prompt instead of from a template."
        )
    return found + _lengths(answers, f"{language} answers to risky prompts", config)


def _thoughts(texts: Iterable[str], language: str, config: DegenerateConfig) -> list[str]:
    thoughts = _filled(texts)
    total = len(thoughts)
    if total < config.min_rows:
        return []
    found = []
    shared = mean_overlap(_spread(thoughts, config.sample_size))
    if shared > config.max_shared_thought:
        found.append(
            f"{language} thoughts about risky prompts follow ONE TEMPLATE: two of them share {shared:.0%} of their "
            f"word 3-grams (at most {config.max_shared_thought:.0%}): the thought becomes a formula that nothing "
            "depends on. Mix in the styles `improved` and `short`, or let the target model write them."
        )
    return found + _lengths(thoughts, f"{language} thoughts about risky prompts", config)


def _lengths(texts: Sequence[str], what: str, config: DegenerateConfig) -> list[str]:
    lengths = np.array([len(text) for text in texts])
    spread = float(lengths.std() / lengths.mean())
    if spread >= config.min_length_spread:
        return []
    return [
        f"{what} are all about {lengths.mean():.0f} characters long (spread {spread:.0%}, expected at least "
        f"{config.min_length_spread:.0%}): length alone then gives a refusal away. Vary the form."
    ]


def _missing_counters(samples: Sequence[Sample]) -> list[str]:
    """Categories with risky samples and no harmless twin, by language. A counter belongs to the category of its twin
    (`pair`, from either side), or to the one that its source noted in `meta.category`."""
    category_of: dict[str, str] = {}
    risky: dict[Lang, Counter[str]] = defaultdict(Counter)
    for sample in samples:
        if sample.role == "risky":
            category = sample.prompt.risk or "none"
            risky[sample.prompt.lang][category] += 1
            category_of |= {sample.id: category} | ({sample.pair: category} if sample.pair else {})
    countered: dict[Lang, set[str | None]] = defaultdict(set)
    for sample in samples:
        if sample.role == "counter":
            category_of_twin = category_of.get(sample.pair or "") or category_of.get(sample.id)
            countered[sample.prompt.lang].add(category_of_twin or sample.prompt.meta.get("category"))
    found = []
    for lang, counts in risky.items():
        if lang not in countered:
            found.append(
                f"NO {LANGS[lang]} counter samples beside {counts.total()} risky ones: the model will refuse whatever "
                "looks alike. Add harmless twins (corpus.synthesis counter-pairs, or rows of role `counter`)."
            )
        elif countered[lang] == {None}:
            continue  # none of them says what it is the twin of
        elif missing := [category for category in sorted(counts) if category not in countered[lang]]:
            rows = sum(counts[category] for category in missing)
            found.append(
                f"{len(missing)} of {len(counts)} categories have no {LANGS[lang]} counter samples: "
                f"{', '.join(missing)} ({rows} risky rows). Add harmless twins that share their trigger words."
            )
    return found


def _refused_counters(samples: Sequence[Sample], config: DegenerateConfig) -> list[str]:
    judge = RulesJudge()
    counters = [sample for sample in samples if sample.role == "counter" and sample.answer.strip()]
    refused = [sample.id for sample in counters if judge.read(sample.answer).refusal is not None]
    if not counters or len(refused) / len(counters) <= config.max_refused_counters:
        return []
    return [
        f"{len(refused)} of {len(counters)} counter samples ({len(refused) / len(counters):.0%}, at most "
        f"{config.max_refused_counters:.0%}) are REFUSED in their answer: they teach the over-refusal they are there "
        f"to prevent. Drop them or have them answered; the first: {', '.join(refused[:3])}."
    ]


def distinct_bigrams(texts: Sequence[str]) -> float:
    """Different word pairs over all word pairs of the texts (distinct-2); 1 where there are none."""
    words = [_WORDS.findall(text.lower()) for text in texts]
    pairs = [pair for text in words for pair in pairwise(text)]
    return len(set(pairs)) / len(pairs) if pairs else 1.0


def mean_overlap(texts: Sequence[str]) -> float:
    """Mean Jaccard of the word 3-grams over all pairs of texts; 0 for fewer than two texts with any."""
    words = [_WORDS.findall(text.lower()) for text in texts]
    grams = [set(zip(text, text[1:], text[2:], strict=False)) for text in words if len(text) > 2]
    shares = [len(left & right) / len(left | right) for place, left in enumerate(grams) for right in grams[place + 1 :]]
    return float(np.mean(shares)) if shares else 0.0


def _filled(texts: Iterable[str]) -> list[str]:
    return [stripped for text in texts if (stripped := text.strip())]


def _most(values: Iterable[str]) -> int:
    """How often the most frequent value occurs."""
    return Counter(values).most_common(1)[0][1]


def _spread(texts: Sequence[str], number: int) -> list[str]:
    """At most that many texts, evenly spaced: the same ones every time."""
    places = np.linspace(0, len(texts) - 1, min(len(texts), number)).astype(int)
    return [texts[place] for place in places]
