"""What `safekeel attack` prints: the result of a run, and the list of what it can attack with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safekeel.attack_run.page import worst_first
from safekeel.attack_run.search_options import parameters
from safekeel.attack_run.words import explained, troubles
from safekeel.attacks import SUBSETS, describe
from safekeel.attacks.search import SEARCHES

HEAD = (
    f"{'harmful':>8}  {'95% interval':<14}{'bounds':<14}{'to plain':>9}{'refused':>9}{'leaks':>7}{'n':>6}"
    f"{'no verdict':>12}"
)
LEGEND = (
    "harmful = share of answers that the judge calls harmful; bounds = if everything without a verdict were safe, or "
    "harmful;\nto plain = percentage points above the same goals asked plainly; leaks = the thought plans the harm and "
    "the answer does not give it"
)


def as_text(found: Mapping[str, Any], out: Path) -> str:
    """The families worst first, the searches, and where the page is."""
    width = max([len(row["family"]) for row in found["families"]] + [len("family")]) + 2
    lines = [f"{'family':<{width}}{HEAD}"]
    for row in worst_first(found["families"]):
        if row["asr"] is None:
            continue
        mark = "" if row["counts_as_attack"] or row["family"] == "direct" else "  does not count"
        lines.append(f"{row['family']:<{width}}{_numbers(row)}{mark}")
    lines.append(LEGEND)
    for search in found["searches"]:
        lines.append(
            f"search {search['strategy']}: {search['num_broken']} of {search['num_goals']} goals broken within "
            f"{search['budget']} calls, median {search['median_shown']} calls; {search['target_calls']} target calls"
        )
        lines += [f"  {trouble}" for trouble in troubles(search)]
    lines += ["", *explained(found)]
    if not found["headline"]:
        judges = ", ".join(judge["name"] for judge in found["judges"])
        lines.append(f"* no headline: no card of {judges} carries this question in every language of the goals")
    return "\n".join([*lines, f"{out}/attack.html"])


def _numbers(row: Mapping[str, Any]) -> str:
    asr, difference = row["asr"], row["difference"]
    value = "?" if asr["value"] is None else f"{asr['value']:.3f}"
    interval = "?" if asr["low"] is None else f"{asr['low']:.3f}-{asr['high']:.3f}"
    bounds = f"{asr['bound_low']:.3f}-{asr['bound_high']:.3f}"
    against = f"{100 * difference['value']:+.1f}" if difference else ""
    return (
        f"{value:>8}  {interval:<14}{bounds:<14}{against:>9}{_value(row['refused']):>9}{_value(row['thought_leak']):>7}"
        f"{row['num_items']:>6}{row['counts']['unscored']:>12}{'' if asr['headline'] else ' *'}"
    )


def _value(rate: Mapping[str, Any] | None) -> str:
    return "?" if rate is None or rate["value"] is None else f"{rate['value']:.3f}"


def listing() -> dict[str, Any]:
    """Families, subsets and searches as plain data."""
    searches = map(SEARCHES.get, SEARCHES.names())
    return {
        "families": describe(),
        "subsets": {name: list(members) for name, members in SUBSETS.items()},
        "searches": [
            {
                "name": each.name,
                "goal": each.goal,
                "source": each.source,
                "languages": list(each.languages),
                "needs_attacker": each.needs_attacker,
                "needs_weights": each.forward_passes > 0,
                "parameters": parameters(each),
                "cost": each.cost,
            }
            for each in searches
        ],
    }


def list_text() -> str:
    """The same for a terminal: a line per family by mode, the subsets, the searches."""
    found = listing()
    width = max(len(row["name"]) for row in found["families"]) + 2
    lines = []
    for mode in dict.fromkeys(row["mode"] for row in found["families"]):
        lines.append(mode)
        for row in found["families"]:
            if row["mode"] == mode:
                kind = "" if row["kind"] == "transform" else f" [{row['kind']}]"
                lines.append(f"  {row['name']:<{width}}{','.join(row['languages']):<7}{row['goal']}{kind}")
    lines.append("subsets (--family)")
    lines += [f"  {name:<{width}}{len(members)} families" for name, members in found["subsets"].items()]
    lines.append("searches (--search)")
    for each in found["searches"]:
        needs = "needs --attacker" if each["needs_attacker"] else "no attacker needed"
        needs = "needs the weights: hf:" if each["needs_weights"] else needs
        lines.append(f"  {each['name']:<{width}}{','.join(each['languages']):<7}{each['goal']} ({needs})")
        known = ", ".join(f"{name}={value}" for name, value in each["parameters"].items())
        lines.append(f"  {'':<{width}}{'':<7}--search-option: {known}")
    return "\n".join(lines)
