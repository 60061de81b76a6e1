"""From evidence to what a page shows: data of the figures, tables, examples. No markup here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from safekeel.bench.score import Item
from safekeel.records import ANSWER_LABELS, THOUGHT_LABELS, Score
from safekeel.report.charts import CategoryRow, Cell
from safekeel.report.comparisons import measure
from safekeel.report.evidence import FAMILY_PREFIX, SEEN, UNSEEN, Evaluation, Evidence
from safekeel.report.figures import FamilyBar, Mark, Rate
from safekeel.report.labels import benchmark_name
from safekeel.taxonomy import load_taxonomy

MAX_SHOWN = 1200  # characters of one model text on the page
MAX_FAILURES = 3  # examples per kind of failure
UNSCORED = "unscored"


def plain_benchmarks(evaluation: Evaluation) -> list[str]:
    """Benchmarks of undisguised requests that are to be refused."""
    return [
        name
        for name, items in evaluation.by_benchmark.items()
        if items[0].prompt.expect == "refuse" and items[0].prompt.attack is None
    ]


def attacked_benchmarks(evidence: Evidence) -> list[str]:
    """Benchmarks of the attack families that count."""
    return [name for members in evidence.pools().values() for name in members]


def marks(evidence: Evidence, basket: Sequence[str]) -> list[Mark]:
    """The points of the safety-capability plane: base and final on test items, checkpoints on the validation set."""
    found = [
        Mark(c.name, "candidate", Rate(c.safety), Rate(c.capability))
        for c in evidence.selection.candidates
        if not c.chosen
    ] + [
        Mark("Selected (validation set)", "chosen", Rate(c.safety), Rate(c.capability))
        for c in evidence.selection.candidates
        if c.chosen
    ]
    steps = evidence.rl_config.get("num_steps")
    final = "Final model" if steps == 0 else "After balanced RL"
    for evaluation, name, kind in ((evidence.before, "Base model", "base"), (evidence.after, final, "final")):
        if evaluation is None:
            continue
        risky = [*plain_benchmarks(evaluation), *evidence.pools()[SEEN]]
        safety, capability = measure(evaluation.group(*risky), "dsr"), measure(evaluation.group(*basket), "acc")
        if safety and capability:
            found.append(Mark(name, "base" if kind == "base" else "final", _rate(safety), _rate(capability)))
    return found


def family_bars(evidence: Evidence) -> list[FamilyBar]:
    """The attack families that count, seen ones first."""
    bars = []
    for benchmark in attacked_benchmarks(evidence):
        name = benchmark.removeprefix(FAMILY_PREFIX)
        before, after, refused = (
            measure(evaluation.group(benchmark), metric) if evaluation else None
            for evaluation, metric in ((evidence.before, "dsr"), (evidence.after, "dsr"), (evidence.after, "refused"))
        )
        if before and after and refused:
            seen = evidence.families[name].seen
            bars.append(FamilyBar(name, seen, _rate(before), _rate(after), _rate(refused).value, after.num_items))
    return bars


def unmeasurable(evidence: Evidence) -> list[str]:
    """Families that the base model does not understand well enough for a defence to mean anything."""
    return [name for name, family in evidence.families.items() if not family.eligible]


def category_areas(evidence: Evidence) -> list[tuple[str, list[CategoryRow]]]:
    """Defence per category of the TC260 taxonomy; empty where no item carries one of its categories."""
    before, after = evidence.before, evidence.after
    if before is None or after is None:
        return []
    taxonomy = load_taxonomy("tc260")
    plain, attacked = plain_benchmarks(after), attacked_benchmarks(evidence)
    groups = [evaluation.group(*names) for names in (plain, attacked) for evaluation in (before, after)]
    areas = []
    for area in taxonomy.areas:
        rows = [
            CategoryRow(c.id, c.short_en, c.short_zh, c.en, tuple(_cell(group, c.id) for group in groups))  # type: ignore[arg-type]
            for c in taxonomy.categories
            if c.area == area.id
        ]
        areas.append((f"{area.id} {area.en.partition(' (')[0]}", rows))
    measured = any(cell.num_items for _, rows in areas for row in rows for cell in row.cells)
    return areas if measured else []


def _cell(items: Sequence[Item], category: str) -> Cell:
    score = measure([item for item in items if item.prompt.risk == category], "dsr")
    return Cell(score.value, score.num_items) if score else Cell(None)


def _rate(score: Score) -> Rate:
    """The share and its interval; the worst case and the bounds where too little is known to tell a share."""
    if score.value is None:
        return Rate(score.bound_low or 0.0, score.bound_low, score.bound_high)
    return Rate(score.value, score.low, score.high)


def knowing_and_doing(evidence: Evidence) -> list[dict[str, Any]]:
    """The full thought x answer table over all risky items, before and after: counts and shares."""
    tables = []
    for when, evaluation in (("Before", evidence.before), ("After", evidence.after)):
        if evaluation is None:
            continue
        items = evaluation.group(*plain_benchmarks(evaluation), *attacked_benchmarks(evidence))
        counts = Counter((item.thought or UNSCORED, item.answer or UNSCORED) for item in items)
        thoughts = [t for t in (*THOUGHT_LABELS, UNSCORED) if t != UNSCORED or any(k[0] == t for k in counts)]
        answers = (*ANSWER_LABELS, UNSCORED)
        rows = [
            {"thought": t, "cells": [{"count": counts[t, a], "share": counts[t, a] / len(items)} for a in answers]}
            for t in thoughts
            if items
        ]
        tables.append({"when": when, "num_items": len(items), "answers": answers, "rows": rows})
    return [table for table in tables if table["num_items"]]


def examples(evidence: Evidence) -> list[dict[str, Any]]:
    """Items to read: one of each kind, then what went wrong. Chosen by order alone, never by looks."""
    before, after = evidence.before, evidence.after
    if before is None or after is None:
        return []
    pools = evidence.pools()
    risky = after.group(*plain_benchmarks(after), *attacked_benchmarks(evidence))
    harmless = [item for item in after.items.values() if item.prompt.expect == "answer"]
    solved = [
        item for key, item in after.items.items() if key in before.items and before.items[key].answer == "correct"
    ]
    first = (
        ("A risky request", after.group(*plain_benchmarks(after))[:1]),
        ("Under an attack seen in training", after.group(*pools[SEEN])[:1]),
        ("Under an attack never seen in training", after.group(*pools[UNSEEN])[:1]),
        ("A harmless request", harmless[:1]),
        ("Still harmful", [item for item in risky if item.answer == "harmful"][:MAX_FAILURES]),
        (
            "Harmless, but refused",
            [item for item in harmless if item.answer in ("refusal", "responsible_refusal")][:MAX_FAILURES],
        ),
        ("Right before, wrong now", [item for item in solved if item.answer == "wrong"][:MAX_FAILURES]),
    )
    return [
        {
            "title": title,
            "id": item.prompt.id,
            "benchmark": benchmark_name(item.prompt.id.split("/")[0]),
            "risk": item.prompt.risk,
            "lang": item.prompt.lang,
            "request": _cut("\n".join(message.content for message in item.prompt.messages)),
            "turns": [_turn("Before", before.items.get(_key(item))), _turn("After", item)],
        }
        for title, items in first
        for item in items
    ]


def _key(item: Item) -> tuple[str, int]:
    return item.prompt.id, item.completion.sample


def _turn(when: str, item: Item | None) -> dict[str, Any] | None:
    if item is None:
        return None
    return {
        "when": when,
        "thought": _cut(item.completion.thought or ""),
        "answer": _cut(item.completion.answer),
        "thought_label": item.thought,
        "answer_label": item.answer or UNSCORED,
        "finish": item.completion.finish,
        "error": item.completion.error,
    }


def _cut(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}… ({len(text) - MAX_SHOWN} more characters)"
