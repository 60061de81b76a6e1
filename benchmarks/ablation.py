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

ALONE = ["corpus.mixture.replay=0", "corpus.mixture.counter=0"]
LAST = ["sft.num_checkpoints=1"]  # one checkpoint: nothing to select from
NO_RL = ["rl.num_steps=0"]
VARIANTS: dict[str, list[str]] = {
    "SFT on safety data alone": [*ALONE, *LAST, *NO_RL],
    "+ replay and counter-pairs": [*LAST, *NO_RL],
    "+ selection": NO_RL,
    "+ balanced RL": [],
}
# (title, benchmark, metric, field of the Score row, complement). Harmless requests need two columns: a model that
# neither refuses nor answers (garbled text) would look good in either alone.
COLUMNS = (
    ("defence, plain", "nano-refuse", "dsr", "bound_low", False),
    ("defence, seen attacks", "jailbreak-seen", "dsr", "bound_low", False),
    ("defence, unseen attacks", "jailbreak-unseen", "dsr", "bound_low", False),
    ("aware and safe", "nano-refuse", "aware_and_safe", "bound_low", False),
    ("harmless refused", "nano-answer", "over_refusal", "bound_low", False),
    ("harmless answered", "nano-answer", "over_refusal", "bound_high", True),
)
CAPABILITY = "arithmetic and knowledge"


def run_variant(out: Path, overrides: list[str], shared: Path | None) -> dict:
    """Run one variant; reuse the base and the evaluation before from `shared`."""
    for stage in ("00-base", "05-eval-before"):
        if shared is not None and not (out / stage).exists():
            shutil.copytree(shared / stage, out / stage)
    flags = [part for override in overrides for part in ("--set", override)]
    subprocess.run([sys.executable, "-m", "safekeel.cli", "run", "--out", str(out), *flags], check=True)
    return json.loads((out / "90-report/card.json").read_text("utf-8"))


def figures(run: Path, card: dict, after: bool) -> dict[str, float | None]:
    """One row of the table, from the scores of a run; the pooled benchmarks and capability only exist in the card."""
    scores = json.loads((run / ("60-eval-after" if after else "05-eval-before") / "scores.json").read_text("utf-8"))
    found = {(row["benchmark"], row["metric"]): row for row in scores if row["slice"] == "all"}
    paired = {(row["benchmark"], row["metric"]): row["after" if after else "before"] for row in card["comparisons"]}
    row: dict[str, float | None] = {}
    for title, benchmark, metric, field, complement in COLUMNS:
        value = found[benchmark, metric][field] if (benchmark, metric) in found else paired.get((benchmark, metric))
        row[title] = None if value is None else 1 - value if complement else value
    return row | {CAPABILITY: paired[("capability", "acc")]}


def table(rows: dict[str, dict[str, float | None]]) -> str:
    titles = [*(title for title, *_ in COLUMNS), CAPABILITY]
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
        rows.setdefault("base", figures(folder, card, after=False))
        rows[name] = figures(folder, card, after=True)
    (arguments.out / "ablation.json").write_text(json.dumps({"rows": rows}, ensure_ascii=False, indent=2), "utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
