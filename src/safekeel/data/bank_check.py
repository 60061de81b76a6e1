"""Do the TC260 banks meet the standard's minimums, without duplicates and without anything from a public set?

Sizes are the standard's ("should be no less than", TC260-003 section 8 and GB/T 45654-2025): 2,000 generated-content
questions with 50 per category of A.1 and A.2 and 20 of the others, 500 should-refuse and 500 should-not-refuse
questions with 20 per category or aspect. Texts are compared by character 5-grams, exactly, not by hashing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safekeel.bench.capability import CAPABILITY
from safekeel.bench.safety import BENCHMARKS
from safekeel.bench.safety.tc260 import Bank, BankRow, read_bank
from safekeel.corpus.steps import jaccard, shingles
from safekeel.errors import SafeKeelError
from safekeel.records import Lang
from safekeel.taxonomy import load_taxonomy

MIN_ROWS: dict[Bank, int] = {"generated": 2000, "refuse": 500, "answer": 500}
MIN_CORE, MIN_OTHER = 50, 20
CORE_AREAS = ("A.1", "A.2")
NEAR = 0.5
"""Jaccard of character 5-grams from which two questions are near duplicates; the datasheet states the same limit."""
ABILITY = frozenset(bench.name for bench in CAPABILITY)
"""Benchmarks of ability are not compared: they hold no requests, and without a local copy they would ask the hub."""
Text = tuple[str, str]
"""Name and text."""


@dataclass(frozen=True)
class Finding:
    """One check: what it is about, whether it holds, and the evidence."""

    check: str
    passed: bool
    detail: str


def check_banks(data_dir: Path | None) -> list[Finding]:
    """All checks. Public sets without a local copy are listed as not compared.

    Raises:
        DataError: a bank or a public file is malformed.
    """
    findings = [finding for bank in MIN_ROWS for finding in check_sizes(bank, read_bank(bank))]
    rows = [row for bank in MIN_ROWS for row in read_bank(bank)]
    langs: tuple[Lang, ...] = ("zh", "en")
    for lang in langs:
        own = [(row.id, str(getattr(row, lang))) for row in rows]
        findings.append(check_duplicates(f"duplicates ({lang})", rows, lang))
        texts, compared, absent = public_texts(data_dir, lang)
        findings.append(check_overlap(f"public sets ({lang})", own, texts, compared, absent))
    return findings


def check_sizes(bank: Bank, rows: Sequence[BankRow]) -> list[Finding]:
    """Rows in all and in the smallest group; also when only rows with agreed labels are counted."""
    smallest = {name: count - _minimum(bank, name) for name, count in _groups(bank, rows).items()}
    agreed = [row for row in rows if row.agreed]
    worst = min(smallest, key=lambda name: smallest[name])
    groups = _groups(bank, rows)
    return [
        Finding(
            f"{bank}: rows",
            len(rows) >= MIN_ROWS[bank],
            f"{len(rows)} of at least {MIN_ROWS[bank]}; {len(agreed)} with agreed labels",
        ),
        Finding(
            f"{bank}: rows per {'aspect' if bank == 'answer' else 'category'}",
            smallest[worst] >= 0,
            f"{len(groups)} groups; scarcest {worst} with {groups[worst]} of at least {_minimum(bank, worst)}",
        ),
    ]


def _groups(bank: Bank, rows: Sequence[BankRow]) -> Counter[str]:
    """Rows per category (per aspect in the answer bank); expected groups without a row count 0."""
    if bank == "answer":
        return Counter(row.aspect or "" for row in rows)
    expected = load_taxonomy().subset("31" if bank == "generated" else "17")
    found = Counter(row.category for row in rows)
    return Counter(dict.fromkeys(expected, 0) | found)


def _minimum(bank: Bank, group: str) -> int:
    return MIN_CORE if bank == "generated" and group.startswith(CORE_AREAS) else MIN_OTHER


def check_duplicates(check: str, rows: Sequence[BankRow], lang: Lang) -> Finding:
    """No two questions of one bank are the same or nearly the same; pairs across banks are named, for each bank is a
    test of its own."""
    bank_of = {row.id: row.bank for row in rows}
    texts = [(row.id, str(getattr(row, lang))) for row in rows]
    pairs = [pair for pair in near_pairs(texts, texts) if pair[0] < pair[1]]
    within = [pair for pair in pairs if bank_of[pair[0]] == bank_of[pair[1]]]
    detail = f"{len(rows)} questions, {len(within)} pairs of one bank above {NEAR}, {len(pairs) - len(within)} across"
    return Finding(check, not within, f"{detail} {_named(pairs)}".rstrip())


def check_overlap(
    check: str, own: Sequence[Text], public: Sequence[Text], compared: Sequence[str], absent: Sequence[str]
) -> Finding:
    """No question is one of a public set. Without any public set at hand nothing is shown, and the check fails."""
    found = near_pairs(own, public)
    sets = ", ".join(compared) or "no set"
    detail = f"{len(found)} pairs above {NEAR} with {len(public)} prompts of {sets} {_named(found)}".rstrip()
    if absent:
        detail += f". Not compared, no local copy: {', '.join(absent)}"
    return Finding(check, bool(public) and not found, detail)


def _named(pairs: Sequence[tuple[str, str, float]]) -> str:
    return "; ".join(f"{left} ~ {right} ({similarity:.2f})" for left, right, similarity in pairs[:5])


def near_pairs(left: Sequence[Text], right: Sequence[Text]) -> list[tuple[str, str, float]]:
    """All pairs of names whose texts are equal once normalised or share at least `NEAR` of their 5-grams."""
    pieces = [shingles(text) for _, text in right]
    index: dict[str, list[int]] = defaultdict(list)
    for number, grams in enumerate(pieces):
        for gram in grams:
            index[gram].append(number)
    pairs = []
    for name, text in left:
        mine = shingles(text)
        shared = Counter(number for gram in mine for number in index.get(gram, ()))
        for number, count in shared.items():
            # Jaccard >= t needs at least t/(1+t) of the summed sizes in common: skips the exact sum for most.
            if right[number][0] != name and count >= NEAR / (1 + NEAR) * (len(mine) + len(pieces[number])):
                pairs.append((name, right[number][0], jaccard(mine, pieces[number])))
    return pairs


def public_texts(data_dir: Path | None, lang: str) -> tuple[list[Text], list[str], list[str]]:
    """Prompts of all registered public benchmarks in a language; the sets found, and those without a local copy."""
    texts: list[Text] = []
    compared: list[str] = []
    absent: list[str] = []
    for name in BENCHMARKS.names():
        if name.startswith("tc260-") or name in ABILITY:
            continue
        try:
            prompts = BENCHMARKS.get(name).prompts("test", None, data_dir, 0)
        except SafeKeelError:  # no copy, or a set that only names what to use instead
            absent.append(name)
            continue
        found = [(prompt.id, prompt.messages[-1].content) for prompt in prompts if prompt.lang == lang]
        if found:
            texts += found
            compared.append(name)
    return texts, compared, absent
