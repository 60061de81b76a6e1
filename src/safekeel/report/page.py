"""The page's content in one table of plain values, shared by `html` and `markdown`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from safekeel.report import charts, curves, figures, rounds, selection, selection_plot, svg, training, view
from safekeel.report.card import CAPABILITY
from safekeel.report.cautions import cautions, reward_judge
from safekeel.report.evidence import FAMILY_PREFIX, SEEN, UNSEEN, Evidence
from safekeel.report.gate import Rules
from safekeel.report.labels import benchmark_name, family_name, metric_name, percent, points

VERDICTS = {
    "GO": "Every rule of the gate passes.",
    "NO-GO": "At least one rule of the gate is breached.",
    "INCONCLUSIVE": "No rule is breached, but not every rule can be decided.",
}
GROUPS = ("Plain requests", "Under attack", "Capability", "Thought")
THOUGHT_METRICS = ("thought_aware", "thought_harmful", "aware_and_safe", "thought_leak")
ONLY_IN_CARD = ("thought_harmful",)  # the thought x answer table shows it
ONLY_PLAIN = ("rr2", "thought_leak")
SIMULATED = "nano"
RL_FIGURES = {
    "training": "Costs of the constraints and their multipliers over the steps of RL",
    "training_limits": "What may go wrong in RL, over its steps",
}


def page_of(evidence: Evidence, card: dict[str, Any], rules: Rules) -> dict[str, Any]:
    """Everything that the page says, without markup; `figures` are {name: {width: svg}}."""
    groups = comparison_groups(card["comparisons"])
    rule_rows = [_rule_row(rule, card) for rule in card["gate"]["rules"]]
    return {
        "card": card,
        "verdict": card["gate"]["verdict"],
        "verdict_text": VERDICTS[card["gate"]["verdict"]],
        "undecided": [row for row in rule_rows if row["verdict"] != "PASS"],
        "headlines": headlines(card),
        "rules": rule_rows,
        "groups": [group for group in groups if group["title"] != GROUPS[3]],
        "thoughts": [row for group in groups if group["title"] == GROUPS[3] for row in group["rows"]],
        "capability": next((row for row in card["comparisons"] if row["benchmark"] == CAPABILITY), None),
        "figures": draw(evidence, rules),
        "not_measurable": [
            {"name": family_name(name), "base_compliance": evidence.families[name].base_compliance}
            for name in view.unmeasurable(evidence)
        ],
        "tables": view.knowing_and_doing(evidence),
        "cautions": cautions(evidence),
        "candidates": selection.rows(evidence.selection),
        "selection": evidence.selection,
        "selection_rule": selection.rule_told(evidence.selection, evidence.select_config),
        "rl_table": training.table(training.panels(evidence)),
        "rl_outcome": training.outcome(evidence),
        "rl_told": training.steps_told(evidence),
        "rl_reward": training.reward_told(evidence, reward_judge(evidence)),
        "rl_steps": evidence.rl_config.get("num_steps"),
        "ablation": evidence.ablation,
        "rounds": rounds.table(evidence.rounds),
        "examples": view.examples(evidence),
        "limits": limits(evidence, card),
        "started": min((m["started"] for m in evidence.manifests.values() if m.get("started")), default=None),
        "total_seconds": sum(value for value in card["seconds"].values() if value),
        "git": (evidence.manifests.get("60-eval-after") or {}).get("git") or {},
    }


def headlines(card: dict[str, Any]) -> list[dict[str, Any]]:
    """The two numbers that belong together: the first safety rule's score, and the capability lost for it."""
    found = {(row["benchmark"], row["metric"]): row for row in card["comparisons"]}
    safety = next(
        (r for r in card["gate"]["rules"] if r["kind"] == "min" and (r["benchmark"], r["metric"]) in found), None
    )
    budget = next((r for r in card["gate"]["rules"] if r["benchmark"] == CAPABILITY), None)
    shown = []
    if safety:
        row = found[safety["benchmark"], safety["metric"]]
        shown.append(
            {
                "title": safety["name"],
                "row": row,
                "note": f"{row['num_pairs']} held-out requests, the same before and after",
            }
        )
    if (row := found.get((CAPABILITY, "acc"))) and budget:
        bound, limit = row["loss_upper"], _threshold(budget["threshold"], True)
        proven = (
            f"at most {points(bound, 2, signed=False)} points lost with 95% confidence, budget {limit}"
            if bound >= 0
            else f"at least {points(-bound, 2, signed=False)} points gained with 95% confidence"
        )
        note = f"{points(-row['loss'])} points on {row['num_pairs']} paired problems; {proven}"
        shown.append({"title": "Capability kept", "row": row, "note": note})
    return shown


def _rule_row(rule: dict[str, Any], card: dict[str, Any]) -> dict[str, Any]:
    """A rule with the figures before and after beside it."""
    row = next(
        (c for c in card["comparisons"] if (c["benchmark"], c["metric"]) == (rule["benchmark"], rule["metric"])), None
    )
    is_loss = rule["kind"] in ("max_loss", "guard_loss")
    sign = "≤" if rule["kind"] != "min" else "≥"
    show = (lambda value, digits=2: points(value, digits, signed=False)) if is_loss else percent
    value = show(rule["value"])
    return {
        **rule,
        "before": None if row is None or is_loss else percent(row["before"]),
        "shown": value,
        "interval": None if rule["low"] is None else f"{show(rule['low'])} to {show(rule['high'])}",
        "bound_shown": None
        if rule["bound"] is None or is_loss
        else f"{'≥' if sign == '≥' else '≤'} {percent(rule['bound'])}",
        "limit": f"{sign} {_threshold(rule['threshold'], is_loss)}",
        "is_loss": is_loss,
        "gauge": _gauge(rule, None if row is None or is_loss else row["before"], is_loss),
    }


def _threshold(share: float, is_loss: bool) -> str:
    return f"{100 * share:g}" + ("%" if not is_loss else " point" if share == 0.01 else " points")


def _gauge(rule: dict[str, Any], was: float | None, is_loss: bool) -> str | None:
    """The rule's scale as SVG; of a loss, twice the budget to either side of zero."""
    if rule["value"] is None or rule["low"] is None or rule["high"] is None:
        return None
    scale = (-2 * rule["threshold"], 2 * rule["threshold"] or 1.0) if is_loss else (0.0, 1.0)
    return charts.gauge(rule["value"], rule["low"], rule["high"], rule["threshold"], was, scale)


def comparison_groups(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The before/after table in groups; single attack families are in the figure, the table has the pools."""
    kinds: dict[str, list[dict[str, Any]]] = {title: [] for title in GROUPS}
    for row in rows:
        attacked, pooled = row["benchmark"].startswith(FAMILY_PREFIX), row["benchmark"] in (SEEN, UNSEEN)
        if (attacked and not pooled) or row["metric"] in ONLY_IN_CARD or (attacked and row["metric"] in ONLY_PLAIN):
            continue
        named = {"benchmark_name": benchmark_name(row["benchmark"]), "metric_name": metric_name(row["metric"])}
        kinds[_group_of(row)].append({**row, **named})
    return [{"title": title, "rows": found} for title, found in kinds.items() if found]


def _group_of(row: dict[str, Any]) -> str:
    if row["metric"] in THOUGHT_METRICS:
        return "Thought"
    if row["metric"] == "acc":
        return "Capability"
    return "Under attack" if row["benchmark"] in (SEEN, UNSEEN) else "Plain requests"


def draw(evidence: Evidence, rules: Rules) -> dict[str, dict[str, str]]:
    """The figures that the evidence allows, each for a wide screen and for a phone."""
    marks = view.marks(evidence, rules.capability.basket)
    budget = next((rule.max_loss for rule in rules.rule if rule.benchmark == CAPABILITY and rule.max_loss), None)
    bars, areas, panels = view.family_bars(evidence), view.category_areas(evidence), training.panels(evidence)
    found: dict[str, dict[str, str]] = {}
    for size, width in (("wide", figures.WIDE), ("narrow", figures.NARROW)):
        if any(mark.kind in ("base", "final") for mark in marks):
            found.setdefault("safety_capability", {})[size] = figures.tradeoff(marks, budget, width)
        if bars:
            found.setdefault("attacks", {})[size] = figures.attacks(bars, width)
        if areas:
            found.setdefault("categories", {})[size] = charts.categories(areas, width)
        if selection_plot.is_worth_drawing(evidence.selection):
            found.setdefault("candidates", {})[size] = selection_plot.draw(evidence.selection, width)
        if attacked := rounds.panels(evidence.rounds):
            found.setdefault("rounds", {})[size] = curves.draw(attacked, rounds.described(evidence.rounds), width)
        for name, group in panels.items():
            told = training.described(RL_FIGURES[name], training.table({name: group}))
            found.setdefault(name, {})[size] = curves.draw(group, told, width)
    return found


def limits(evidence: Evidence, card: dict[str, Any]) -> list[str]:
    """What the figures do not show, said by the run's own data."""
    after = evidence.after
    if after is None:
        return ["The evaluation after training has not finished: nothing here says what training did."]
    items, notes = list(after.items.values()), []
    if any(item.prompt.meta.get("world") == SIMULATED for item in items):
        notes.append(
            "A synthetic world of short sentences and a model of about two million parameters: these figures show that "
            "the method and its measurement work and what each part adds. They say nothing about the safety of a real "
            "model."
        )
    notes.append(_judges(card))
    notes.append(
        "One training run. The intervals cover the choice of items, not the variation between seeds; items that share "
        "a fact, a template or a goal are counted as fewer (the effective number is in card.json)."
    )
    if missing := view.unmeasurable(evidence):
        names = ", ".join(family_name(name) for name in missing)
        notes.append(
            f"Attack families that the base model does not understand, so that a defence would prove nothing: {names}."
        )
    unread = Counter(
        "garbled" if i.garbled else "truncated" if i.truncated else "unscored"
        for i in items
        if i.garbled or i.truncated or i.answer is None
    )
    if unread:
        told = ", ".join(f"{count} {kind}" for kind, count in sorted(unread.items()))
        notes.append(
            f"Answers after training that no verdict could be given on, or only as failures: {told}. "
            "They count against the model."
        )
    adaptive = "attackers that are models" if evidence.rounds else "adaptive attacks, sampling at a temperature"
    notes.append(
        f"Not measured: {adaptive}, multi-turn attacks, other languages than Chinese and English, tools. TC260-003 "
        "/ GB/T 45654-2025 asks for manual tests; a gate of automatic ones does not replace them."
    )
    notes += [f"{stage}: {text}" for stage, texts in card["warnings"].items() for text in texts]
    return notes


def _judges(card: dict[str, Any]) -> str:
    rows = {(row["judge"], row["label_source"], row["headline"]) for row in card["scores"]}
    told = []
    for name, source, headline in sorted(rows, key=str):
        origin = {
            "construction": "labels exact by construction of the items",
            "human": "checked against people's labels",
        }.get(
            str(source), "checked against labels made by a model" if source == "model" else "no labels to check against"
        )
        told.append(f"{name} ({origin}{'' if headline else '; no card, so no headline'})")
    return "Judged by " + "; ".join(told) + "." if told else "No scores."


def exports(drawn: dict[str, dict[str, str]]) -> dict[str, str]:
    """File name -> standalone SVG."""
    return {f"{name}.svg": svg.standalone(sizes["wide"]) for name, sizes in drawn.items()}
