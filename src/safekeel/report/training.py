"""Balanced RL as a reader needs it: were the budgets held, and was training stopped before it went astray?

Data only, from `40-rl/metrics.jsonl`, its configuration and its manifest. The names of the figures are those of
`train/balance.py` (`lambda/ cost/ cost_se/ cost_samples/`), `train/rl_scoring.py` (`stuck/`) and TRL. A run from before
a figure was logged has "not recorded" in its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from safekeel.report.curves import NOT_RECORDED, Curve, Goal, Panel, Unit, show
from safekeel.report.evidence import RL, Evidence

Rows = Sequence[Mapping[str, float]]
TITLES: dict[str, tuple[str, str, Unit]] = {
    "capability": ("Capability deficit", "base minus policy, paired, points", "points"),
    "over_refusal": ("Over-refusal", "refusals beyond the base's, points", "points"),
    "safety": ("Unsafe answers", "share of risky prompts, %", "%"),
}
"""Constraint -> title, axis and unit."""
CONSTRAINTS = {"safety": ("capability", "over_refusal"), "capability": ("safety", "over_refusal")}
"""Objective -> its constraints, in the order shown."""


def panels(evidence: Evidence) -> dict[str, list[Panel]]:
    """The plots by figure: `training` (costs and multipliers) and `training_limits` (what may go wrong); empty where
    there was no RL."""
    rows, config = evidence.rl_metrics, evidence.rl_config
    if not rows:
        return {}
    names = constraints(evidence)
    held = [_cost(rows, config, name) for name in names]
    multipliers = [Curve(words(name), series(rows, f"lambda/{name}")) for name in names]
    limits = [_kl(rows, config), _rewards(rows), _truncated(rows, config), _stuck(rows)]
    return {
        "training": [*held, _panel("Multipliers λ", "weight of a constraint", multipliers, "")],
        "training_limits": limits,
    }


def constraints(evidence: Evidence) -> list[str]:
    """The constraints of the run's objective; of a run without the name of one, those that were logged."""
    logged = {key.partition("/")[2] for row in evidence.rl_metrics for key in row if key.startswith("lambda/")}
    known = CONSTRAINTS.get(str(evidence.rl_config.get("objective")))
    wanted = list(known) if known else [name for name in TITLES if name in logged]
    return [*wanted, *sorted(logged - set(wanted))]


def words(name: str) -> str:
    """`over_refusal` -> `over refusal`."""
    return name.replace("_", " ")


def series(rows: Rows, key: str) -> list[tuple[float, float]]:
    """(step, value) of the rows that have the figure."""
    return [(row["step"], row[key]) for row in rows if key in row]


def _panel(title: str, axis: str, curves: Sequence[Curve], unit: Unit, missing: Sequence[str] = ()) -> Panel:
    """Without the curves that have no points, whose names go to what is missing."""
    absent = [curve.name for curve in curves if not curve.points]
    return Panel(title, axis, [curve for curve in curves if curve.points], unit, [*absent, *missing])


def _cost(rows: Rows, config: Mapping[str, Any], name: str) -> Panel:
    title, axis, unit = TITLES.get(name, (words(name).capitalize(), "cost, %", "%"))
    errors, budget = series(rows, f"cost_se/{name}"), config.get(f"{name}_budget")
    goal = None if budget is None else Goal(float(budget), "budget")
    missing = [] if errors else ["standard error"]
    missing += [] if goal else ["budget"]
    return _panel(title, axis, [Curve("cost", series(rows, f"cost/{name}"), goal, errors)], unit, missing)


def _stop(config: Mapping[str, Any], key: str) -> tuple[Goal | None, list[str]]:
    """The threshold, and what to say where the run did not note one; None was noted where nothing stops."""
    limit = config.get(key)
    goal = None if limit is None else Goal(float(limit), "stops above", always=False)
    return goal, [] if key in config else ["stop threshold"]


def _window(config: Mapping[str, Any]) -> int:
    """The limits hold for means over this many measurements; drawn so, a crossing is seen where it stops training."""
    return int(config.get("stop_window") or 1)


def _kl(rows: Rows, config: Mapping[str, Any]) -> Panel:
    (start, missing), (base, _) = _stop(config, "max_kl"), _stop(config, "max_base_kl")
    curves = [
        Curve("to the start of RL", series(rows, "kl"), start, window=_window(config)),
        Curve("to the base", series(rows, "base_kl")),
        Curve("to the base, on problems", series(rows, "base_kl/problem"), base),
    ]
    return _panel("KL divergence", "mean per token, nats", curves, "nats", missing)


def _truncated(rows: Rows, config: Mapping[str, Any]) -> Panel:
    goal, missing = _stop(config, "max_truncated")
    curve = Curve("truncated", series(rows, "completions/clipped_ratio"), goal, window=_window(config))
    return _panel("Truncated completions", "cut off at the token budget, %", [curve], "%", missing)


def _stuck(rows: Rows) -> Panel:
    """Groups that are bad throughout have no variance, hence no gradient: only data can repair them."""
    logged = dict.fromkeys(key.partition("/")[2] for row in rows for key in row if key.startswith("stuck/"))
    wanted = list(logged) or ["over_refusal", "safety"]
    said = {"over_refusal": "harmless, always refused", "safety": "risky, always unsafe"}
    curves = [
        Curve(said.get(name, words(name)), series(rows, f"stuck/{name}"), window=max(1, len(rows) // 12))
        for name in wanted
    ]
    return _panel("Stuck prompts", "share of the prompts of their kind, %", curves, "%")


def _rewards(rows: Rows) -> Panel:
    names = dict.fromkeys(
        key.removeprefix("rewards/").removesuffix("/mean")
        for row in rows
        for key in row
        if key.startswith("rewards/") and key.endswith("/mean")
    )
    window = max(1, len(rows) // 12)
    curves = [Curve(words(name), series(rows, f"rewards/{name}/mean"), window=window) for name in names]
    return _panel("Rewards", "mean of the completions concerned", curves, "")


def table(drawn: Mapping[str, Sequence[Panel]]) -> list[dict[str, str]]:
    """Every curve in words: first, lowest, highest and last value, the error at the end, and its limit."""
    found = []
    for panel in (panel for group in drawn.values() for panel in group):
        unit = {"%": "%", "points": " points", "nats": " nats"}.get(panel.unit, "")
        for curve in panel.curves:
            levels = [y for _, y in curve.points]
            errors = dict(curve.band)
            error = errors.get(curve.points[-1][0])
            values = (levels[0], min(levels), max(levels), levels[-1])
            first, low, high, last = (show(value, panel.unit) + unit for value in values)
            limit = f"{curve.goal.name} {show(curve.goal.level, panel.unit)}{unit}" if curve.goal else ""
            found.append(
                {
                    "name": f"{panel.title}: {curve.name}", "first": first, "low": low, "high": high, "last": last,
                    "error": "" if error is None else f"± {show(error, panel.unit)}", "limit": limit,
                }
            )  # fmt: skip
        blank = dict.fromkeys(("first", "low", "high", "last", "error", "limit"), "")
        found += [{"name": f"{panel.title}: {name}", **blank, "last": NOT_RECORDED} for name in panel.missing]
    return found


def described(title: str, rows: Sequence[Mapping[str, str]]) -> str:
    """A figure's curves as text for those who cannot see it."""
    told = []
    for row in rows:
        if row["last"] == NOT_RECORDED:
            told.append(f"{row['name']} {NOT_RECORDED}")
            continue
        error, limit = row["error"] and f" {row['error']}", row["limit"] and f", {row['limit']}"
        told.append(f"{row['name']} from {row['first']} to {row['last']}{error}, highest {row['high']}{limit}")
    return f"{title}. {'; '.join(told)}."


def outcome(evidence: Evidence) -> list[dict[str, Any]]:
    """How each constraint stood when RL ended: estimate, standard error, budget (fractions), samples, multiplier.

    `within` compares the estimate with the budget; None where one of them is not known.
    """
    found = []
    for name in constraints(evidence):
        rows = [row for row in evidence.rl_metrics if f"cost/{name}" in row]
        last, budget = (rows[-1] if rows else {}), evidence.rl_config.get(f"{name}_budget")
        estimate = last.get(f"cost/{name}")
        title, _, unit = TITLES.get(name, (words(name).capitalize(), "", "%"))
        found.append(
            {
                "name": name,
                "title": title,
                "unit": unit,
                "estimate": estimate,
                "standard_error": last.get(f"cost_se/{name}"),
                "budget": budget,
                "samples": last.get(f"cost_samples/{name}"),
                "multiplier": next(
                    (r[f"lambda/{name}"] for r in evidence.rl_metrics[::-1] if f"lambda/{name}" in r), None
                ),
                "within": None if estimate is None or budget is None else estimate <= budget,
            }
        )
    return found


def steps_told(evidence: Evidence) -> str:
    """How far RL went, in words."""
    wanted = evidence.rl_config.get("num_steps")
    done = (evidence.manifests.get(RL) or {}).get("counts", {}).get("steps")
    if done is None or wanted is None:
        return ""
    return (
        f"All {wanted} steps were run."
        if done >= wanted
        else f"RL ended early: the model kept is of step {done} of {wanted}."
    )


def reward_told(evidence: Evidence, judge: str | None) -> str:
    """Who gave the reward, in words."""
    if judge is not None:
        return f"by the judge {judge}"
    given, config = evidence.rl_config.get("rewards"), evidence.rl_config
    if given == "judge":
        return f"by the judge {config.get('judge') or NOT_RECORDED}; its version: {NOT_RECORDED}"
    return "by the cues of the nano world, no judge" if given == "nano" else NOT_RECORDED
