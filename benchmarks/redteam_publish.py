"""Publish runs of `safekeel run nano-redteam` with different seeds: docs/results/redteam, and the table of the README.

python benchmarks/redteam_publish.py out/redteam-0 out/redteam-1 out/redteam-2
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from safekeel.attacks.rounds import KINDS_OF_FAILURE
from safekeel.report.card import build_card

FOLDER = Path(__file__).resolve().parents[1] / "docs/results/redteam"
ROWS, TABLE = "redteam.json", "redteam.md"
SIDES = ("seen", "unseen", "search")
HEADS = {
    "en": (
        "after", "seen families, 20 queries", "refused", "unseen families, 20 queries", "refused",
        "all families, 100 queries", "refused",
    ),
    "zh": ("之后", "见过的攻击族，20 次", "被拒", "未见的攻击族，20 次", "被拒", "全部攻击族，100 次", "被拒"),
}  # fmt: skip
NAMES = {
    "base": {"en": "(base)", "zh": "（基础模型）"},
    "00": {"en": "training without attacks", "zh": "不含攻击的训练"},
    "01": {"en": "round 1", "zh": "第 1 轮"},
    "02": {"en": "round 2", "zh": "第 2 轮"},
}


def main() -> None:
    found = [_read(Path(name)) for name in sys.argv[1:]]
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / ROWS).write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", "utf-8")
    (FOLDER / TABLE).write_text(f"{table('en')}\n\n{_final(found)}\n", "utf-8")


def _read(run: Path) -> dict[str, Any]:
    """The curve of one run, what its rounds found, and its gate at the end."""
    card = build_card(run, None)
    attacks = sorted(run.glob("rounds/*/50-attack/manifest.json"))
    counts = [json.loads(path.read_text("utf-8"))["counts"] for path in attacks]
    wanted = ("goals", "successes", "target_calls", "slots_busy", "finds", *KINDS_OF_FAILURE)
    return {
        "curve": json.loads((run / "rounds/curve.json").read_text("utf-8")),
        "attacks": [{name: each[name] for name in wanted} for each in counts],
        "verdict": card["gate"]["verdict"],
        "rules": [{key: rule[key] for key in ("name", "value", "bound", "verdict")} for rule in card["gate"]["rules"]],
        "families": card["families"],
    }


def table(lang: str) -> str:
    """Goals that hold, by round: mean over the runs, and the range; beside it the share of queries refused."""
    runs = json.loads((FOLDER / ROWS).read_text("utf-8"))
    lines = ["| " + " | ".join(HEADS[lang]) + " |", "|---" * len(HEADS[lang]) + "|"]
    for index, row in enumerate(runs[0]["curve"]):
        cells = [NAMES[row["round"]][lang]]
        for side in SIDES:
            found = [run["curve"][index][side] for run in runs]
            cells.append(_spread([each["dsr"] for each in found]))
            cells.append(f"{sum(each['refused_per_call'] for each in found) / len(found):.0%}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _spread(values: list[float]) -> str:
    low, high = (f"{100 * value:.1f}%" for value in (min(values), max(values)))
    middle = f"{100 * sum(values) / len(values):.1f}%"
    return middle if low == high else f"{middle} ({low} … {high})"


def _final(runs: list[dict[str, Any]]) -> str:
    """The gate's rules of the final model, one column per run."""
    lines = ["| final model | " + " | ".join(f"run {n}: {run['verdict']}" for n, run in enumerate(runs)) + " |"]
    lines.append("|---" * (len(runs) + 1) + "|")
    for index, rule in enumerate(runs[0]["rules"]):
        cells = [_shown(run["rules"][index]) for run in runs]
        lines.append(f"| {rule['name']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _shown(rule: dict[str, Any]) -> str:
    value = "missing" if rule["value"] is None else f"{100 * rule['value']:.1f}"
    return f"{value} {rule['verdict']}"


if __name__ == "__main__":
    main()
