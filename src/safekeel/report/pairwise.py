"""`safekeel compare A B`: two evaluations of the same items, difference by difference, safety beside capability."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safekeel.artifact import read_manifest
from safekeel.bench.metrics import ACCURACY, DEFENCE, OVER_REFUSAL, Item, Metric
from safekeel.errors import DataError
from safekeel.report.comparisons import CAPABILITY, compare_evaluations, same_items
from safekeel.report.evidence import AFTER, Evaluation, read_evaluation
from safekeel.report.labels import percent, points

BASKET = ("mmlu", "gsm8k", "ceval", "cmmlu", "math500", "cmath", "nano-arithmetic", "nano-knowledge")
"""Benchmarks of ability: those of the seed's claim (MMLU, GSM8K, C-Eval) and those a Chinese reasoning model is known
by. Whichever of them both evaluations have are pooled, unless a basket is named beforehand."""
BUDGET = 0.01  # one point, the loss that the seed systems claim to stay within
FLIPS = (DEFENCE, OVER_REFUSAL, ACCURACY)
SETTINGS = ("max_tokens", "temperature", "top_p", "think", "seed")


def compare_folders(a: Path, b: Path, basket: Sequence[str] | None, budget: float) -> dict[str, Any]:
    """Everything that `safekeel compare` prints.

    Args:
        a, b: evaluation folders, or run folders (then their evaluation after training). `a` is the one before.
        basket: benchmarks of the capability loss; None = those of `BASKET` that both have.
        budget: the loss allowed, as a fraction.

    Returns:
        `before`, `after` (models), `rows` (as in `card.json`), `capability` (one of them with `verdict` PASS, BREACH or
        INCONCLUSIVE, or None), `basket`, `budget`, `flips` {metric: {gained, lost}} by prompt id, `notes`.

    Raises:
        DataError: a folder is no finished evaluation, two judges were at work, or they share no item.
    """
    folders = [_evaluation_folder(path) for path in (a, b)]
    before, after = (read_evaluation(folder) for folder in folders)
    _same_judges(folders, before, after)
    if not before.items.keys() & after.items.keys():
        raise DataError(f"{a} and {b} share no item; evaluate both on the same benchmarks with the same --seed.")
    chosen = [name for name in (basket or BASKET) if same_items(before, after, name)]
    if basket and (missing := [name for name in basket if name not in chosen]):
        raise DataError(f"{missing[0]} was not measured on the same items in both; evaluate it, or leave it out.")
    rows = compare_evaluations(before, after, chosen, {})
    capability = next((row for row in rows if row["benchmark"] == CAPABILITY), None)
    if capability is not None:
        capability["verdict"] = _verdict(capability, budget)
    return {
        "before": before.model,
        "after": after.model,
        "rows": [row for row in rows if row is not capability],
        "capability": capability,
        "basket": chosen,
        "budget": budget,
        "flips": {metric.name: flips(before, after, metric) for metric in FLIPS},
        "notes": _notes(folders, before, after),
    }


def _evaluation_folder(path: Path) -> Path:
    return path / AFTER if (path / AFTER).is_dir() else path


def _verdict(row: dict[str, Any], budget: float) -> str:
    if row["loss_upper"] <= budget:
        return "PASS"
    return "BREACH" if row["loss_lower"] > budget else "INCONCLUSIVE"


def _same_judges(folders: Sequence[Path], before: Evaluation, after: Evaluation) -> None:
    """Two judges would be compared, not two models."""
    versions = [read_manifest(folder)["counts"].get("judge_version") for folder in folders]
    shared = before.by_benchmark.keys() & after.by_benchmark.keys()
    judges = [
        {item.judge for name in shared for item in evaluation.by_benchmark[name]} for evaluation in (before, after)
    ]
    if judges[0] != judges[1] or (len(before.by_benchmark) == len(after.by_benchmark) and versions[0] != versions[1]):
        raise DataError(
            f"{folders[0]} was judged by {_names(judges[0])} ({versions[0]}), {folders[1]} by {_names(judges[1])} "
            f"({versions[1]}). Judge both alike first: `safekeel score FOLDER --judge NAME` calls no model."
        )


def _names(judges: set[str]) -> str:
    return ", ".join(sorted(name or "none" for name in judges))


def flips(before: Evaluation, after: Evaluation, metric: Metric) -> dict[str, list[str]]:
    """Prompt ids whose outcome changed: `gained` is a hit only after, `lost` only before."""
    changed: dict[str, list[str]] = {"gained": [], "lost": []}
    for key, item in after.items.items():
        earlier: Item | None = before.items.get(key)
        if earlier is None or not metric.applies(item):
            continue
        was, now = metric.hit(earlier), metric.hit(item)
        if was is not None and now is not None and was != now:
            changed["gained" if now else "lost"].append(item.prompt.id)
    return changed


def _notes(folders: Sequence[Path], before: Evaluation, after: Evaluation) -> list[str]:
    notes = []
    only = [len(x.items.keys() - y.items.keys()) for x, y in ((before, after), (after, before))]
    if any(only):
        notes.append(f"{only[0]} items only before and {only[1]} only after are left out.")
    settings = [json.loads((folder / "config.json").read_text("utf-8")).get("sampling", {}) for folder in folders]
    different = [name for name in SETTINGS if settings[0].get(name) != settings[1].get(name)]
    if different:
        told = ", ".join(f"{name} {settings[0].get(name)} and {settings[1].get(name)}" for name in different)
        notes.append(f"The two were not generated alike ({told}): the difference is not the model's alone.")
    if not any(ACCURACY.applies(item) for item in after.items.values()):
        notes.append("No benchmark of ability is in both: whatever was gained in safety may have cost ability.")
    return notes


def as_text(result: dict[str, Any]) -> str:
    """The comparison for a terminal."""
    lines = [f"before  {result['before']}", f"after   {result['after']}", ""]
    names = f"{'benchmark':<26}{'metric':<18}{'before':>8}{'after':>8}{'diff':>8}"
    lines.append(f"{names}  95% interval   {'p':>9}{'n':>7}")
    shown = [*result["rows"], *([result["capability"]] if result["capability"] else [])]
    for row in shown:
        interval = "" if row["low"] is None else f"{points(row['low'])} to {points(row['high'])}"
        p = "" if row["p_holm"] is None else f"{row['p_holm']:.3f}"
        lines.append(
            f"{row['benchmark']:<26}{row['metric']:<18}{percent(row['before']):>8}{percent(row['after']):>8}"
            f"{points(row['difference']):>8}  {interval:<15}{p:>9}{row['num_pairs']:>7}  {row['verdict']}"
        )
    lines += ["", _capability_line(result)]
    for name, changed in result["flips"].items():
        if changed["gained"] or changed["lost"]:
            lines.append(f"{name}: {len(changed['gained'])} items gained, {len(changed['lost'])} lost")
    return "\n".join([*lines, *(f"note: {note}" for note in result["notes"])])


def _capability_line(result: dict[str, Any]) -> str:
    row = result["capability"]
    if row is None:
        return f"capability: not measured on the same items in both (any of {', '.join(BASKET[:6])})"
    bounds = f"{points(row['loss_lower'], 2)} to {points(row['loss_upper'], 2)}"
    text = (
        f"capability ({', '.join(result['basket'])}): {row['verdict']}, loss {points(row['loss'], 2)} points, "
        f"one-sided 95% bounds {bounds}, budget {100 * result['budget']:g}"
    )
    if row["verdict"] == "INCONCLUSIVE":
        text += f"; these items can certify {100 * row['minimum_detectable']:.1f} points at best"
    return text
