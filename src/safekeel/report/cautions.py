"""What a reader must know before believing the figures of a run: warnings for the gate, the page and the card."""

from __future__ import annotations

from typing import Any

from safekeel.report.evidence import RL, Evidence

PANELS = ("vote:", "cascade:")


def cautions(evidence: Evidence) -> list[dict[str, str]]:
    """`{kind, title, text}` per warning; `kind` is `unqualified` or `reward-judge`."""
    return [found for found in (_unqualified(evidence), _reward_judge(evidence)) if found is not None]


def _unqualified(evidence: Evidence) -> dict[str, str] | None:
    selection = evidence.selection
    if selection.qualified is not False:
        return None
    went_on = evidence.rl_config.get("num_steps")
    then = (
        f" RL went on from it; what that led to is measured by {_measured(evidence)} alone."
        if went_on
        else " It is the final model."
        if went_on == 0
        else ""
    )
    return {
        "kind": "unqualified",
        "title": "The selected model is not qualified",
        "text": f"{selection.reason or 'The reason: not recorded.'}{then}",
    }


def _measured(evidence: Evidence) -> str:
    return "the evaluation after training" if evidence.after else "no evaluation yet, that is, by nothing, and so"


def _reward_judge(evidence: Evidence) -> dict[str, str] | None:
    """RL learns to please the judge of its reward, mistakes included; the same judge cannot then see them."""
    reward = reward_judge(evidence)
    judges = evidence.after.judges if evidence.after else evidence.before.judges if evidence.before else ()
    if reward is None or not judges:
        return None
    if reward in judges:
        return _caution(
            "The reward was given by the judge that measures",
            f"RL was rewarded by {reward}, which also judged the evaluation. The model was trained on this judge's "
            "mistakes, and the figures after training cannot show them.",
        )
    related = [judge for judge in judges if _members(judge) & _members(reward)]
    if not related:
        return None
    return _caution(
        "The reward was given by a relative of the judge that measures",
        f"RL was rewarded by {reward}, and {', '.join(related)} judged the evaluation: they share a judge by name. "
        "Mistakes that both make were rewarded, and the figures after training cannot show them.",
    )


def _caution(title: str, text: str) -> dict[str, str]:
    advice = " Judge the evaluation again with another judge (“safekeel score”), or set rl.judge to another one."
    return {"kind": "reward-judge", "title": title, "text": text + advice}


def reward_judge(evidence: Evidence) -> str | None:
    """Name and version of the judge that rewarded RL; None where none did, or where it was not noted."""
    counts: dict[str, Any] = (evidence.manifests.get(RL) or {}).get("counts") or {}
    found = counts.get("reward_judge")
    return str(found) if found else None


def _members(judge: str) -> set[str]:
    """The judges' names in `NAME VERSION`; a panel's name lists its members."""
    name = judge.rpartition(" ")[0] or judge
    for kind in PANELS:
        if name.startswith(kind):
            return set(name.removeprefix(kind).split(","))
    return {name}
