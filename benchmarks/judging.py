"""Speed of the judges that need no model: complete answers of 500 characters per second on one core.

    python benchmarks/judging.py [--seconds 3] [--out docs/results/judging]

Answers are joined from our own training rows (Chinese and English, refusals and others in turn) until they have 500
characters, so the benchmark needs no public data. Each judge runs alone, then `rules` and `linear` on the same answers.
Prints and writes `speed.json` and `speed.md`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # before numpy is imported: one core means one

from safekeel.judges.base import Judge  # noqa: E402
from safekeel.judges.label_sources import Labelled, prompt_and_completion  # noqa: E402
from safekeel.judges.linear import LinearJudge  # noqa: E402
from safekeel.judges.linear_data import read_own  # noqa: E402
from safekeel.judges.rules import RulesJudge  # noqa: E402
from safekeel.records import Completion, Lang, Prompt  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
NUM_CHARS, NUM_ANSWERS = 500, 200
TARGET = 1_000  # answers per second and core, rules and linear together
LOAD_SECONDS = 0.2


def answers(rows: list[Labelled], lang: Lang) -> list[tuple[Prompt, Completion]]:
    """`NUM_ANSWERS` completions of exactly `NUM_CHARS` characters."""
    made = []
    texts = cycle(row.completion.answer for row in rows)
    for number in range(NUM_ANSWERS):
        text = ""
        while len(text) < NUM_CHARS:
            text += next(texts) + "\n\n"
        made.append(prompt_and_completion(f"speed/{number}", 0, "none", "?", text[:NUM_CHARS], lang, None))
    return made


def rate(judges: list[Judge], items: list[tuple[Prompt, Completion]], seconds: float) -> float:
    """Answers per second of CPU time, each judged by all of these."""
    for judge in judges:
        judge.judge_many(items[:20])
    done, start = 0, time.process_time()
    while time.process_time() - start < seconds:
        for judge in judges:
            judge.judge_many(items)
        done += len(items)
    return done / (time.process_time() - start)


def load_seconds(code: str) -> float:
    """Seconds that a statement takes in a fresh process, imports not counted; the best of three."""
    program = (
        "import time; from safekeel.judges.linear import LinearJudge; from safekeel.judges.rules import RulesJudge; "
        f"t = time.perf_counter(); {code}; print(time.perf_counter() - t)"
    )
    runs = [subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True) for _ in "123"]
    return min(float(run.stdout) for run in runs)


def measure(seconds: float) -> dict[str, object]:
    """All figures."""
    judges: dict[str, list[Judge]] = {"rules": [RulesJudge()], "linear": [LinearJudge()]}
    judges["rules + linear"] = [*judges["rules"], *judges["linear"]]
    languages: tuple[Lang, ...] = ("zh", "en")
    items = {lang: answers(list(read_own(f"{lang}_responses", lang).items), lang) for lang in languages}
    speed = {name: {lang: round(rate(those, items[lang], seconds)) for lang in items} for name, those in judges.items()}
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "num_chars": NUM_CHARS,
        "answers_per_cpu_second": speed,
        "target": TARGET,
        "load_seconds": {"rules": load_seconds("RulesJudge()"), "linear": load_seconds("LinearJudge()")},
    }


def table(found: dict) -> str:
    """The figures as Markdown."""
    lines = [
        f"Complete answers of {found['num_chars']} characters per second on one core (CPU time; "
        f"target {found['target']:,} for rules and linear together). `python benchmarks/judging.py`, {found['date']}.",
        "",
        "| judge | zh | en | loads in |",
        "|---|---|---|---|",
    ]
    for name, speed in found["answers_per_cpu_second"].items():
        load = f"{found['load_seconds'][name] * 1000:.0f} ms" if name in found["load_seconds"] else ""
        lines.append(f"| {name} | {speed['zh']:,} | {speed['en']:,} | {load} |")
    return "\n".join(lines) + "\n"


def main(write: Callable[[str], object] = print) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="of CPU time per figure")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/judging")
    given = parser.parse_args()
    found = measure(given.seconds)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "speed.json").write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    (given.out / "speed.md").write_text(table(found), "utf-8")
    write(table(found))


if __name__ == "__main__":
    main()
