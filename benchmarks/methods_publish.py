"""Publish what `methods.py` measured: table, figure and rows under docs/results/methods, a short table for the README.

python benchmarks/methods_publish.py out/methods/methods-test.jsonl
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from safekeel.report import svg
from safekeel.report.curves import Curve, Panel, Unit, draw
from safekeel.report.methods import Method, methods_figure, methods_of, methods_table, read_rows, spread

FOLDER = Path(__file__).resolve().parents[1] / "docs/results/methods"
ROWS, TABLE, FIGURE, ALPHA = "methods.json", "methods.md", "methods.svg", "alpha.svg"
CHINESE = {
    "base": "基础模型",
    "SFT safety only": "SFT：仅安全数据",
    "SFT + replay": "＋回放（标准答案，无思考）",
    "SFT + on-policy": "＋改为模型自己写的回放",
    "SFT + counter-pairs": "＋反例对",
    "LoRA rank 1": "LoRA 秩 1（同上数据）",
    "LoRA rank 8": "LoRA 秩 8",
    "LoRA rank 32": "LoRA 秩 32",
    "SFT + counter-pairs, 20% of the tokens": "SFT＋反例对，20% 词元",
    "GRPO fixed weights, from counter-pairs": "GRPO 固定权重，接“＋反例对”",
    "GRPO constrained, from counter-pairs": "GRPO 带约束，接“＋反例对”",
    "GRPO fixed weights, from 20%": "GRPO 固定权重，接 20%",
    "GRPO constrained, from 20%": "GRPO 带约束，接 20%",
    "DPO, from counter-pairs": "DPO，接“＋反例对”",
    "chosen texts only, from counter-pairs": "对照：只学被选文本，接“＋反例对”",
    "DPO, from on-policy": "DPO，接“模型自己写的回放”",
    "chosen texts only, from on-policy": "对照：只学被选文本，接“模型自己写的回放”",
}
HEADS = {
    "en": (
        "", "plain", "unseen attacks", "harmless refused", "harmless answered", "capability, points", "verdict",
        "CPU s",
    ),
    "zh": ("", "直接请求", "未见的攻击", "无害被拒", "无害得到回答", "能力变化（点）", "判定", "CPU 秒"),
}  # fmt: skip
HIDDEN = "α "
"""Interpolations stand in the whole table and have a figure of their own."""
ENDS = ("SFT + counter-pairs", "SFT safety only")


def main() -> None:
    from methods_arms import arms

    order = ["base", *arms({})]
    rows = [row for row in read_trained(Path(sys.argv[1])) if row["method"] in order]
    rows.sort(key=lambda row: (order.index(row["method"]), row["seed"]))
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / ROWS).write_text(json.dumps(rows, ensure_ascii=False, indent=1) + "\n", "utf-8")
    (FOLDER / TABLE).write_text(methods_table(rows), "utf-8")
    shown = [row for row in rows if not row["method"].startswith(HIDDEN)]
    (FOLDER / FIGURE).write_text(methods_figure(shown), "utf-8")
    (FOLDER / ALPHA).write_text(alpha_figure(rows), "utf-8")


def alpha_figure(rows: list[dict[str, Any]]) -> str:
    """What lies between the base (α 0) and two trained models (α 1): means over the seeds."""

    def curve(end: str, read: Callable[[dict[str, Any]], float]) -> Curve:
        places = {0.0: "base", 1.0: end} | {alpha: f"{HIDDEN}{alpha} of {end}" for alpha in (0.25, 0.5, 0.75)}
        points = []
        for alpha, name in sorted(places.items()):
            values = [read(row["metrics"]) for row in rows if row["method"] == name]
            points.append((alpha, sum(values) / len(values)))
        return Curve(end, points)

    reads: dict[tuple[str, str, Unit], Callable[[dict[str, Any]], float]] = {
        ("Defence", "refused under unseen attacks, %", "%"): lambda metrics: float(metrics["unseen"]),
        ("Harmless requests", "answered, %", "%"): lambda metrics: float(metrics["answered"]),
        ("Capability", "change against the base, points", "points"): lambda m: float(m["capability_change"]["value"]),
    }
    panels = [
        Panel(title, axis, [curve(end, read) for end in ENDS], unit, axis_of_x="α")
        for (title, axis, unit), read in reads.items()
    ]
    told = "Interpolation between the base and two trained models: defence, harmless requests answered, capability."
    return svg.standalone(draw(panels, told))


def read_trained(path: Path) -> list[dict[str, Any]]:
    """The rows; of a method and seed that two processes measured, the one that also trained it."""
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    found = {(row["method"], row["seed"]): row for row in sorted(lines, key=lambda row: row["cpu_seconds"])}
    return list(found.values())


def short_table(lang: str) -> str:
    """For the README, from the published rows: mean and range over the seeds."""
    found = [method for method in methods_of(read_rows(FOLDER / ROWS)) if not method.name.startswith(HIDDEN)]
    lines = ["| " + " | ".join(HEADS[lang]) + " |", "|---|" + "---|" * (len(HEADS[lang]) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(_cells(method, lang)) + " |" for method in found)])


def _cells(method: Method, lang: str) -> list[str]:
    cells = [method.name if lang == "en" else CHINESE[method.name]]
    for name in ("plain", "unseen", "over_refusal", "answered"):
        values = [value for row in method.rows if (value := getattr(row.metrics, name)) is not None]
        cells.append(spread(values, lambda value: f"{100 * value:.1f}%"))
    cells.append(spread([change.value for change in method.changes()], lambda value: f"{100 * value:+.1f}"))
    standings = method.standings() if method.name != "base" else []
    cells.append(_counted(standings))
    cells.append(f"{sum(row.cpu_seconds for row in method.rows) / len(method.rows):.0f}")
    return cells


def _counted(standings: Sequence[str]) -> str:
    return ", ".join(f"{standings.count(name)} {name}" for name in dict.fromkeys(standings))


if __name__ == "__main__":
    main()
