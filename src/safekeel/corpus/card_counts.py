"""What the data card counts: every figure is computed from the rows themselves, none is carried over from a claim."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from safekeel.corpus.sample import ROLES, Rejected, Sample
from safekeel.taxonomy.taxonomy import Taxonomy

PARTS = ("prompt", "thought", "answer")
QUANTILES = {"min": 0.0, "p10": 0.1, "median": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
UNNAMED = "(unnamed)"
"""Stands for an empty step, source or licence, so that no row of a table is without a name."""


def counts(values: Iterable[str]) -> dict[str, int]:
    """Value -> how often, sorted by value."""
    return dict(sorted(Counter(values).items()))


def role_by_language(kept: Sequence[Sample]) -> dict[str, dict[str, int]]:
    """Role -> language -> samples; roles of the corpus first, zeros shown."""
    found = Counter((sample.role, sample.prompt.lang) for sample in kept)
    return {role: {lang: found[role, lang] for lang in ("zh", "en")} for role in ROLES}


def by_category(kept: Sequence[Sample], taxonomy: Taxonomy) -> dict[str, dict[str, int]]:
    """Category -> `risky`, `zh`, `en` (of the risky ones) and `counter` (harmless twins of the category).

    All categories of the taxonomy are there, with zeros; a risk that is none of them comes last, under its own name.
    A twin belongs to the category of its risky sample, or to `meta.category` where that sample is gone.
    """
    ids = [category.id for category in taxonomy.categories]
    others = sorted({sample.prompt.risk for sample in kept if sample.prompt.risk} - set(ids))
    found = {name: {"risky": 0, "zh": 0, "en": 0, "counter": 0} for name in [*ids, *others]}
    risk_of = {sample.id: sample.prompt.risk for sample in kept}
    for sample in kept:
        if sample.role == "risky" and sample.prompt.risk:
            row = found[sample.prompt.risk]
            row["risky"] += 1
            row[sample.prompt.lang] += 1
        elif sample.role == "counter":
            home = risk_of.get(sample.pair or "") or sample.prompt.meta.get("category")
            if isinstance(home, str) and home in found:
                found[home]["counter"] += 1
    return found


def lengths(kept: Sequence[Sample], tokens: Mapping[str, Any] | None) -> dict[str, Any]:
    """Quantiles of the lengths of prompt, thought and answer, in tokens where they were counted, else in characters.

    Quantiles are lengths that occur (inverted distribution function), never averages of two.
    """
    if tokens is None:
        measured: dict[str, Sequence[int]] = {
            "prompt": [sum(len(message.content) for message in sample.prompt.messages) for sample in kept],
            "thought": [len(sample.thought) for sample in kept],
            "answer": [len(sample.answer) for sample in kept],
        }
        head: dict[str, Any] = {"unit": "characters", "tokenizer": None}
    else:
        measured = {part: tokens[part] for part in PARTS}
        if wrong := [part for part in PARTS if len(measured[part]) != len(kept)]:
            part = wrong[0]
            raise ValueError(f"tokens[{part!r}] has {len(measured[part])} lengths, expected one for {len(kept)} rows.")
        head = {"unit": "tokens", "tokenizer": str(tokens["tokenizer"])}
    return head | {part: _quantiles(values) for part, values in measured.items()}


def _quantiles(values: Sequence[int]) -> dict[str, int]:
    if not values:
        return dict.fromkeys([*QUANTILES, "total"], 0)
    found = np.quantile(np.asarray(values), list(QUANTILES.values()), method="inverted_cdf")
    return {name: int(value) for name, value in zip(QUANTILES, found, strict=True)} | {"total": int(sum(values))}


def repetition(texts: Sequence[str]) -> dict[str, Any]:
    """How often the most frequent text occurs: `{"rows", "distinct", "most_frequent", "share"}`; without blank ones."""
    found = Counter(" ".join(text.split()) for text in texts if text.strip())
    rows, most = sum(found.values()), max(found.values(), default=0)
    return {"rows": rows, "distinct": len(found), "most_frequent": most, "share": most / rows if rows else 0.0}


def pairs(kept: Sequence[Sample]) -> dict[str, int]:
    """Risky samples with their harmless twin in the corpus, and twins on either side that lost the other."""
    role_of = {sample.id: sample.role for sample in kept}
    paired = [sample for sample in kept if sample.pair]
    return {
        "risky": sum(sample.role == "risky" for sample in kept),
        "counter": sum(sample.role == "counter" for sample in kept),
        "complete": sum(s.role == "risky" and role_of.get(s.pair or "") == "counter" for s in paired),
        "risky_alone": sum(s.role == "risky" and role_of.get(s.pair or "") != "counter" for s in paired),
        "counter_alone": sum(s.role == "counter" and role_of.get(s.pair or "") != "risky" for s in paired),
        "not_recorded": sum(s.role in ("risky", "counter") and not s.pair for s in kept),
    }


def rejected_by_step(rejected: Sequence[Rejected]) -> dict[str, dict[str, int]]:
    """Step -> reason -> rows; steps in the order in which they first rejected something."""
    found: dict[str, Counter[str]] = {}
    for row in rejected:
        found.setdefault(row.step or UNNAMED, Counter())[row.reason] += 1
    return {step: dict(reasons.most_common()) for step, reasons in found.items()}


def duplicates(rejected: Sequence[Rejected]) -> dict[str, int]:
    """Reason -> rows, of the reasons that speak of duplicates."""
    return counts(row.reason for row in rejected if "duplicate" in row.reason)


def contamination(
    kept: Sequence[Sample], rejected: Sequence[Rejected], held_out: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What was found of each benchmark, in which sources, and which benchmarks could not be compared.

    The evidence of a contaminated row names the benchmark (`benchmark=…`), or begins with the id of the held-out item,
    whose first part does.
    """
    by_benchmark: dict[str, Counter[str]] = defaultdict(Counter)
    contaminated: Counter[str] = Counter()
    for row in rejected:
        if "contamina" not in f"{row.step} {row.reason}":
            continue
        source = row.sample.prompt.source if row.sample else UNNAMED
        by_benchmark[benchmark_of(row.evidence)][source] += 1
        contaminated[source] += 1
    seen = Counter(sample.prompt.source for sample in kept)
    seen.update(row.sample.prompt.source for row in rejected if row.sample)
    held_out = held_out or {}
    missing = held_out.get("not_checked") or {}
    return {
        "rows": sum(contaminated.values()),
        "by_benchmark": {
            name: {"rows": sum(found.values()), "by_source": dict(sorted(found.items()))}
            for name, found in sorted(by_benchmark.items())
        },
        "by_source": {
            source: {"rows": rows, "contaminated": contaminated[source], "share": contaminated[source] / rows}
            for source, rows in sorted(seen.items())
        },
        "checked": dict(held_out.get("checked") or {}),
        "not_checked": dict(missing) if isinstance(missing, Mapping) else dict.fromkeys(missing, "no copy at hand"),
    }


def benchmark_of(evidence: str) -> str:
    """`rule=exact benchmark=xstest item=…` -> `xstest`; `harmbench/12 (Jaccard 0.97)` -> `harmbench`."""
    words = evidence.split()
    named = next((word.removeprefix("benchmark=") for word in words if word.startswith("benchmark=")), None)
    return named or (words[0].split("/")[0].strip(":,;") if words else UNNAMED)


def licences(kept: Sequence[Sample], sources: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Licence -> samples, and what the sources under it say of training (None where no source speaks of it)."""
    found: dict[str, dict[str, Any]] = {}
    for name, rows in counts(sample.prompt.licence for sample in kept).items():
        under = [source for source in sources if source.get("licence") == name]
        allowed = [bool(source["training_allowed"]) for source in under if source.get("training_allowed") is not None]
        found[name or UNNAMED] = {
            "samples": rows,
            "training_allowed": all(allowed) if allowed else None,
            "by_hand": any(bool(source.get("by_hand")) for source in under),
        }
    return found
