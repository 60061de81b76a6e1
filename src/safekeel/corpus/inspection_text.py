"""A result of an inspection as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from safekeel.report.labels import percent


def result_text(result: Mapping[str, Any]) -> str:
    """Verdict first, then what it rests on."""
    return "\n".join(_lines(result))


def _lines(result: Mapping[str, Any]) -> Iterator[str]:
    found = result["qualified"]
    yield f"{result['verdict']}  {result['name']}, {result['corpus']['file']}, {result['part']}"
    if result["reason"]:
        yield f"  {result['reason']}"
    yield (
        f"  qualified    {percent(found['value'], 2)} ({found['rows']:,} of {result['sampled']:,} rows drawn of "
        f"{result['population']:,}); required {percent(found['threshold'])}"
    )
    yield f"  proven       at least {percent(found['lower_95'], 2)} (exact, one-sided 95%)"
    yield f"  95% interval {percent(found['low'], 2)} to {percent(found['high'], 2)}"
    if found["undecided"]:
        best = percent(found["best"], 2)
        yield f"  undecided    {found['undecided']:,} rows, not counted as qualified; {best} if all of them were"
    for label, number in result["labels"].items():
        yield f"    {label:<12} {number:,}"
    yield from _people(result)
    yield from _automatic(result)
    for note in result["notes"]:
        yield f"  note: {note}"


def _people(result: Mapping[str, Any]) -> Iterator[str]:
    for number, reader in enumerate(result.get("readers", []), start=1):
        yield (
            f"  reader {number}     {reader['file']}: {reader['qualified']:,} none, {reader['unsure']:,} unsure, "
            f"{reader['unfilled']:,} unfilled of {reader['of']:,}"
        )
    for row in result.get("agreement", []):
        first, second = row["readers"]
        kappa = row["qualified"]
        told = "n/a, both always say the same" if kappa["value"] is None else f"{kappa['value']:.3f}"
        yield (
            f"  agreement    readers {first} and {second}: kappa {told}, same verdict on "
            f"{percent(kappa['observed'])} of {kappa['num_items']:,} rows"
        )
    for row in result.get("sources", []):
        yield (
            f"  source       {row['verdict']:<13}{row['source']}: {percent(row['share'])} illegal of {row['read']:,} "
            f"read (95% {percent(row['low'])} to {percent(row['high'])}; at most 5% allowed)"
            + (f"; {row['reason']}" if row["reason"] else "")
        )


def _automatic(result: Mapping[str, Any]) -> Iterator[str]:
    if words := result.get("keywords"):
        yield (
            f"  keywords     {words['words']:,} words ({'enough' if words['enough_in_all'] else 'fewer than 10,000'}); "
            f"{len(words['categories_short'])} of 17 categories of A.1 and A.2 below the standard's number"
        )
        yield f"  strict       {percent(result['strict']['value'], 2)}, were words quoted in refusals counted"
    listed = result.get("not_qualified", [])
    if listed:
        places = ", ".join(str(row["line"]) for row in listed[:20])
        more = result["not_qualified_in_all"] - min(20, len(listed))
        yield f"  look at      lines {places}" + (
            f" and {more:,} more (inspection.json lists {len(listed)})" if more else ""
        )
