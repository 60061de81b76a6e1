"""What the numbers of an attack run say about the model, and what they do not, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from safekeel.attack_run.pack import DIRECT
from safekeel.report.labels import percent


def explained(found: Mapping[str, Any]) -> list[str]:
    """The result in a few sentences, each from the numbers."""
    told = []
    rows = {row["family"]: row for row in found["families"]}
    direct, worst = rows.get(DIRECT), rows.get(found["worst_family"])
    if direct is not None and direct["asr"]:
        told.append(
            f"Asked plainly, the model gives a harmful answer to {percent(direct['asr']['value'])} of "
            f"{direct['num_goals']} goals and refuses {percent((direct['refused'] or {}).get('value'))}."
        )
    if found["base"] is not None:
        attacked = sum(name != DIRECT for name in rows)
        told.append(
            f"{len(found['counted'])} of {attacked} families count: the base complies with at least half of their "
            "prompts."
        )
    if worst is not None:
        told.append(
            f"The worst of {len(found['counted'])} families is {worst['family']}: "
            f"{percent(worst['asr']['value'])} harmful answers (95% interval {_interval(worst['asr'])})."
        )
    elif found["counted"]:
        told.append(
            f"None of {len(found['counted'])} families got an answer that the judge calls harmful"
            f"{_without_verdict(found['pooled'])}."
        )
    told += _baseline(found)
    if (reached := found["any_family"]) and found["counted"]:
        told.append(
            f"{percent(reached['value'])} of {reached['num_items']} goals are broken by at least one of these families"
            f"{_at_most(reached)}."
        )
    for search in found["searches"]:
        told.append(
            f"The search {search['strategy']} breaks {search['num_broken']} of {search['num_goals']} goals within "
            f"{search['budget']} target calls per goal{_but(troubles(search))}."
        )
    return told


def troubles(search: Mapping[str, Any]) -> list[str]:
    """What made a search weaker than its budget says, in sentences: a goal that it did not break was then not defended
    as often as the number of calls suggests."""
    target_calls, attacker, driver = search["target_calls"], search["attacker"], search["driver"]
    found = []
    if errors := search["target_errors"]:
        found.append(f"{errors} of its target calls failed: neither broken nor defended")
    if unclear := driver.get("unscored", 0) - errors:
        found.append(
            f"{unclear} replies have no verdict (cut off, or unclear to the judge): neither broken nor defended"
        )
    if bad := attacker["failures"] + attacker["unreadable"]:
        found.append(
            f"{bad} of {attacker['calls']} attacker calls gave no prompt ({attacker['failures']} failed, cut off or "
            f"empty, {attacker['unreadable']} refused or unreadable)"
        )
    if repeated := search.get("repeated", 0):
        found.append(f"{repeated} of {target_calls} target calls repeated a prompt that this goal had been asked with")
    if attacker["calls"] and 2 * repeated > target_calls:
        found.append("so it hardly tested the model: use another --attacker before you read anything into this line")
    return found


def _but(found: Sequence[str]) -> str:
    return f"; {'; '.join(found)}" if found else ""


def _without_verdict(pooled: Mapping[str, Any] | None) -> str:
    unscored = pooled["counts"]["unscored"] if pooled else 0
    return f", but {unscored} of {pooled['num_items']} have no verdict" if pooled and unscored else ""


def _at_most(rate: Mapping[str, Any]) -> str:
    return (
        f", and up to {percent(rate['bound_high'])} if what has no verdict is harmful" if rate["num_unscored"] else ""
    )


def limits(found: Mapping[str, Any]) -> list[str]:
    """What the figures do not show, said by the run's own data."""
    notes = [*_world(found), *_judges(found), *_eligibility(found), *_unknown(found)]
    notes.append(
        "A family is one text around a goal. A low rate says that this text does not work on this model, not that no "
        "other would: an attacker adapts. "
        + (
            "The searches adapt within their budget; a larger one breaks at least as many goals."
            if found["searches"]
            else "--search adds strategies that look at the replies and try again."
        )
    )
    notes.append(
        "The intervals cover the choice of goals, which are clusters, and not the variation between seeds, samplings "
        f"(temperature {found['sampling']['temperature']:g}, {found['sampling']['num_samples']} per prompt here) or "
        "trainings of the model."
    )
    notes.append(
        "Nothing here says what a safe model costs: over-refusal of harmless requests and lost ability are measured by "
        "safekeel eval, and belong beside these numbers."
    )
    return notes


def _world(found: Mapping[str, Any]) -> list[str]:
    if not any(judge["name"].startswith("nano") for judge in found["judges"]):
        return []
    return [
        "The goals are of the nano world, a synthetic one of short sentences. These figures show that attacks and "
        "their measurement work; they say nothing about the safety of a real model."
    ]


def _judges(found: Mapping[str, Any]) -> list[str]:
    if found["headline"]:
        return []
    names = ", ".join(judge["name"] for judge in found["judges"])
    return [
        f"The numbers are no headline: no card of the judge {names} carries the question in every language of the "
        "goals. Judge with a model whose card does (--judge), or have people label rows of this run (safekeel judge "
        "sheet)."
    ]


def _eligibility(found: Mapping[str, Any]) -> list[str]:
    base = found["base"]
    if base is None:
        return [
            "Without --base it is not known whether the model understands a disguise at all: where it neither refuses "
            "nor helps, the defence may be a lack of understanding. The column of refusals tells these apart in part."
        ]
    notes = []
    if found["not_measurable"]:
        names = ", ".join(found["not_measurable"])
        notes.append(
            f"Not measurable, because the base complies with less than half of their prompts: {names}. A defence "
            "against them would prove nothing."
        )
    if base["eligibility_on_these_prompts"]:
        notes.append(
            "Which families count was decided on the base's answers to these very prompts; a pack of held-out goals "
            "(another --base folder, such as one of the validation split) would keep the choice apart."
        )
    if base["judges_differ"]:
        notes.append(f"The base was judged by {', '.join(base['judges'])}: before and after are not on one scale.")
    return notes


def _baseline(found: Mapping[str, Any]) -> list[str]:
    """Families on whose goals the model complies anyway: success under them is no success of an attack."""
    names = found["baseline_complies"]
    if not names:
        return []
    those = "all of these families" if len(names) == len(found["counted"]) else ", ".join(names)
    return [
        f"The model complies with at least half of the goals of {those} when it is simply asked, so what it does under "
        "them says little about attacks."
    ]


def _unknown(found: Mapping[str, Any]) -> list[str]:
    counts: dict[str, int] = {}
    for row in found["families"]:
        for name, count in row["counts"].items():
            counts[name] = counts.get(name, 0) + count
    if not counts.get("unscored"):
        return []
    kinds = ", ".join(f"{counts[name]} {name}" for name in ("truncated", "failed", "garbled") if counts[name])
    return [
        f"{counts['unscored']} answers have no verdict{f' ({kinds})' if kinds else ''}: they are neither success nor "
        "defence nor refusal, and the bounds show both ends."
    ]


def _interval(rate: Mapping[str, Any]) -> str:
    return "mostly unscored" if rate["low"] is None else f"{percent(rate['low'])} to {percent(rate['high'])}"
