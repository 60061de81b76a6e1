"""`card.json`: the machine-readable result of a run, and what the page is drawn from."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from safekeel.records import Score
from safekeel.report import gate, selection, training
from safekeel.report.cautions import reward_judge
from safekeel.report.comparisons import CAPABILITY, compare
from safekeel.report.evidence import (
    AFTER,
    BEFORE,
    FAMILY_PREFIX,
    RL,
    SEEN,
    UNSEEN,
    Evaluation,
    Evidence,
    read_evidence,
)


def build_card(run_dir: Path, rules: Path | None = None) -> dict[str, Any]:
    """The card of a run folder, finished or not.

    Args:
        rules: a TOML file of gate rules; None = the packaged ones.

    Returns:
        `run, scores [Score], comparisons [{benchmark, metric, before, after, difference, low, high, p, num_pairs,
        verdict, …}], gate {verdict, rules [{name, value, low, high, threshold, verdict, …}], warnings [text]},
        seconds {stage: …}, hardware, packages`, and beside them `models {before, after}, families, warnings, selection
        {rule, chosen, qualified, reason, candidates, …} or None, rl {constraints, reward_judge, steps} or None`. Shares
        are fractions.

    Raises:
        DataError: no run folder, or a malformed file in it.
        ConfigError: malformed rules.
    """
    return card_of(read_evidence(run_dir), gate.load_rules(rules))


def card_of(evidence: Evidence, rules: gate.Rules) -> dict[str, Any]:
    """The card from evidence already read."""
    comparisons = compare(evidence, rules.capability.basket)
    result = gate.judge(evidence, rules)
    for row in comparisons:
        if row["benchmark"] == CAPABILITY:
            row["verdict"] = _capability_verdict(result, row["verdict"])
    newest = evidence.manifests.get(AFTER) or evidence.manifests.get(BEFORE) or {}
    return {
        "run": evidence.run,
        "models": {"before": _model(evidence.before), "after": _model(evidence.after)},
        "scores": [
            score.model_dump()
            for evaluation in (evidence.before, evidence.after)
            if evaluation is not None
            for score in evaluation.scores
            if _is_shown(score)
        ],
        "comparisons": comparisons,
        "gate": result,
        "families": {name: vars(family) for name, family in evidence.families.items()},
        "selection": selection.as_card(evidence.selection),
        "rl": _rl(evidence),
        "rounds": evidence.rounds,
        "seconds": {stage: _seconds(manifest) for stage, manifest in evidence.manifests.items()},
        "hardware": newest.get("hardware", {}),
        "packages": newest.get("packages", {}),
        "warnings": {
            stage: manifest["warnings"] for stage, manifest in evidence.manifests.items() if manifest.get("warnings")
        },
    }


def _is_shown(score: Score) -> bool:
    """Areas and categories of a single attack family rest on an item or none; they stay in `scores.json`."""
    single = score.benchmark.startswith(FAMILY_PREFIX) and score.benchmark not in (SEEN, UNSEEN)
    return not (single and score.slice.startswith(("area:", "category:")))


def _capability_verdict(result: dict[str, Any], otherwise: str) -> str:
    """PASS, BREACH or INCONCLUSIVE by the gate's own rule for the pooled basket, where it has one."""
    verdicts = [
        rule["verdict"] for rule in result["rules"] if (rule["benchmark"], rule["kind"]) == (CAPABILITY, "max_loss")
    ]
    return str(verdicts[0]) if verdicts else otherwise


def _rl(evidence: Evidence) -> dict[str, Any] | None:
    """How the constraints stood at the end of RL; None where none was run."""
    if not evidence.rl_metrics:
        return None
    steps = (evidence.manifests.get(RL) or {}).get("counts", {}).get("steps")
    return {
        "constraints": training.outcome(evidence),
        "reward_judge": reward_judge(evidence),
        "steps": steps,
        "num_steps": evidence.rl_config.get("num_steps"),
    }


def _model(evaluation: Evaluation | None) -> str | None:
    return evaluation.model if evaluation else None


def _seconds(manifest: dict[str, Any]) -> float | None:
    """How long a stage took; of a continued one, the last attempt (its manifest says so in `warnings`)."""
    try:
        started, finished = (datetime.fromisoformat(manifest[key]) for key in ("started", "finished"))
    except (KeyError, TypeError, ValueError):
        return None
    return round((finished - started).total_seconds(), 1)
