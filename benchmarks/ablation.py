"""The ablation of the README: what each station of the loop adds, on the same base and the same test items.

    python benchmarks/ablation.py --out out/ablation [--set suite.num_refuse=372 ...]

Writes OUT/ablation.json (rows for the report: `safekeel report` shows it when it lies in a run folder) and prints
the table. Each variant is an ordinary `safekeel run` with overrides; base and first evaluation are shared by copying
their folders.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

ALONE = ["corpus.num_replay=0", "corpus.counter_pairs=false"]
LAST = ["sft.num_checkpoints=1"]  # one checkpoint: nothing to select from
NO_RL = ["rl.num_steps=0"]
VARIANTS: dict[str, list[str]] = {
    "SFT on safety data alone": [*ALONE, *LAST, *NO_RL],
    "+ replay and counter-pairs": [*LAST, *NO_RL],
    "+ selection": NO_RL,
    "+ balanced RL": [],
}
COLUMNS = (
    ("nano-refuse", "dsr", "defence, plain"),
    ("nano-refuse", "refused", "refused, plain"),
    ("jailbreak-seen", "dsr", "defence, seen attacks"),
    ("jailbreak-unseen", "dsr", "defence, unseen attacks"),
    ("nano-refuse", "aware_and_safe", "aware and safe"),
    ("nano-answer", "over_refusal", "over-refusal"),
    ("capability", "acc", "capability"),
)


def run_variant(out: Path, overrides: list[str], shared: Path | None) -> dict:
    """Run one variant; reuse the base and the evaluation before from `shared`."""
    for stage in ("00-base", "05-eval-before"):
        if shared is not None and not (out / stage).exists():
            shutil.copytree(shared / stage, out / stage)
    flags = [part for override in overrides for part in ("--set", override)]
    subprocess.run([sys.executable, "-m", "safekeel.cli", "run", "--out", str(out), *flags], check=True)
    return json.loads((out / "90-report/card.json").read_text("utf-8"))


def figures(card: dict, when: str) -> dict[str, float | None]:
    """The columns of one row, read from a card's comparisons (`when` is before or after)."""
    found = {(row["benchmark"], row["metric"]): row[when] for row in card["comparisons"]}
    return {title: found.get((benchmark, metric)) for benchmark, metric, title in COLUMNS}


def table(rows: dict[str, dict[str, float | None]]) -> str:
    titles = [title for *_, title in COLUMNS]
    lines = ["| | " + " | ".join(titles) + " |", "|---|" + "---|" * len(titles)]
    for name, row in rows.items():
        cells = ["n/a" if row[title] is None else f"{100 * row[title]:.1f}%" for title in titles]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/ablation"))
    parser.add_argument("--set", action="append", default=[], dest="overrides", help="override for every variant")
    arguments = parser.parse_args()
    rows: dict[str, dict[str, float | None]] = {}
    shared: Path | None = None
    for index, (name, overrides) in enumerate(VARIANTS.items()):
        folder = arguments.out / f"{index + 1}-{name.strip('+ ').lower().replace(' ', '-')}"
        card = run_variant(folder, [*arguments.overrides, *overrides], shared)
        shared = shared or folder
        rows.setdefault("base", figures(card, "before"))
        rows[name] = figures(card, "after")
    (arguments.out / "ablation.json").write_text(json.dumps({"rows": rows}, ensure_ascii=False, indent=2), "utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
