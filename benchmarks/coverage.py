"""Do the intervals of `safekeel.stats` hold the truth as often as they say? One command, minutes on one core:

    python benchmarks/coverage.py            writes docs/results/coverage/coverage.json and coverage.md

Every interval has its stated grid (`GRID`), on which exact ones must cover at least 95% and all others 93% to 97%, and
cells outside of it, which show where and how it fails. A cell passes within twice its simulation error.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import coverage_cells as cells
from benchmarks.coverage_cells import Cell

OUT = Path(__file__).resolve().parents[1] / "docs" / "results" / "coverage"
SEED = 20261121
EXACT = (
    "clopper_pearson",
    "lower_bound (one-sided)",
    "upper_bound (one-sided)",
    "McNemar, exact",
    "Holm, whole family",
)
AT_LEAST, LOW, HIGH = 0.95, 0.93, 0.97
BANDS = ((0.005, 0.02), (0.02, 0.05), (0.05, 0.1), (0.1, 0.3), (0.3, 0.5))
"""True rates of `wilson`, averaged: at a single rate the coverage of any interval of a discrete outcome jumps."""
GRID = {
    "wilson": "n 100 to 1,000, true rates averaged over bands that end at 2 or more expected hits",
    "clopper_pearson": "n 20 to 1,000, rates 0.5% to 99.5%",
    "lower_bound (one-sided)": "as clopper_pearson",
    "upper_bound (one-sided)": "as clopper_pearson",
    "clustered_rate": "at least 15 clusters expected to be hit, clusters of 2 to 10, any correlation within",
    "weighted_rate 71:29": "100 to 300 items a group, at least 2 hits expected in each, shared goals or not",
    "tango": "n 100 to 2,000, at least 5 discordant pairs expected",
    "loss upper bound (one-sided)": "at least 10 discordant pairs expected",
    "loss lower bound (one-sided)": "at least 10 discordant pairs expected",
    "paired_difference, clustered": "at least 10 clusters with a change expected, clusters of 2 to 5",
    "test of no change, clustered": "20 to 200 clusters, 4% to 20% changes; rejects at most 5% (7% allowed)",
    "bootstrap, percentile": "at least 10 clusters with a change expected",
    "bootstrap, bca": "none: shown beside the percentile interval",
    "McNemar, exact": "n 50 to 1,000, 1% to 20% discordant",
    "Holm, whole family": "2 to 30 tests",
    "Rogan-Gladen": "at least 5 errors of each kind expected among the calibration items",
    "double sampling": "at least 1.5 hits that the judge missed expected among the labelled rows",
}
CONSERVATIVE = ("test of no change, clustered",)


def inside(cell: Cell) -> bool:
    """Whether a cell is on its interval's stated grid."""
    s, name = cell.setting, cell.interval
    if name == "wilson":
        return bool(s["n"] * s["to"] >= 2)
    if name == "clustered_rate":
        return bool(s["clusters"] * s["rate"] >= 15)
    if name == "weighted_rate 71:29":
        return bool(all(n * rate >= 2 for n, rate in zip(s["n"], s["rates"], strict=True)))
    if name in ("tango", "loss upper bound (one-sided)", "loss lower bound (one-sided)"):
        return bool(s["n"] * (s["loss"] + s["gain"]) >= (5 if name == "tango" else 10))
    if name in ("paired_difference, clustered", "bootstrap, percentile"):
        return touched(s) >= 10 and (s["size"] <= 5 or name.startswith("boot"))
    if name == "Rogan-Gladen":
        return bool(s["calibration"] * (1 - max(s["sens"], s["spec"])) >= 5 - 1e-9)
    if name == "double sampling":
        return bool(s["labelled"] * s["rate"] * (1 - s["sens"]) >= 1.5 - 1e-9)
    return name != "bootstrap, bca"


def touched(setting: dict) -> float:
    """Clusters expected to have a change, were every cluster to change as a whole."""
    return float(setting["clusters"] * (setting["loss"] + setting["gain"]))


def passes(cell: Cell) -> bool:
    """Whether the coverage is what the interval promises, within twice the simulation error."""
    slack = 2 * cell.noise
    if cell.interval in EXACT:
        return cell.coverage >= AT_LEAST - slack - 1e-9
    return LOW - slack <= cell.coverage and (cell.coverage <= HIGH + slack or cell.interval in CONSERVATIVE)


def binomial_cells() -> Iterator[Cell]:
    rates = (0.005, 0.02, 0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 0.98, 0.995)
    for n in (20, 100, 300, 1000):
        for name in ("clopper_pearson", "lower_bound (one-sided)", "upper_bound (one-sided)"):
            for rate, held in zip(rates, cells.binomial(name, n, rates), strict=True):
                yield Cell(name, {"n": n, "rate": rate}, held, 0.0, 0)
    for n in (20, 100, 300, 1000):
        for low, high in BANDS:
            held = cells.binomial("wilson", n, np.linspace(low, high, 201).tolist())
            setting = {"n": n, "from": low, "to": high, "worst_single_rate": round(min(held), 4)}
            yield Cell("wilson", setting, float(np.mean(held)), 0.0, 0)
    for n in (50, 300, 1000):
        for discordant in (0.01, 0.05, 0.1, 0.2):
            yield cells.mcnemar(n, discordant)


def independent_cells(rng: np.random.Generator, reps: int) -> Iterator[Cell]:
    for n in (100, 300, 1000, 2000):
        for discordant in (0.01, 0.05, 0.1, 0.2):
            for share in (0.5, 0.8):
                yield from cells.paired(rng, n, discordant * share, discordant * (1 - share), reps)
    for tests in (2, 9, 30):
        yield cells.family(rng, tests, reps)
    for n in (200, 1000):
        for calibration in (50, 100, 300):
            for rate in (0.02, 0.05, 0.1, 0.3, 0.5):
                for sens, spec in ((0.8, 0.9), (0.9, 0.95), (0.97, 0.98)):
                    yield cells.judged(rng, n, calibration, rate, sens, spec, reps)
    for rows in (1000, 5000):
        for labelled in (300, 600):
            for rate in (0.01, 0.03, 0.1, 0.3, 0.5):
                for sens, spec in ((0.7, 0.9), (0.9, 0.97)):
                    yield cells.double(rng, rows, labelled, rate, sens, spec, reps)


def clustered_cells(rng: np.random.Generator, reps: int) -> Iterator[Cell]:
    for num in (20, 50, 200):
        for size in (2, 5, 10):
            for rate in (0.02, 0.1, 0.3, 0.5):
                for icc in (0.0, 0.3, 0.8):
                    yield cells.clustered(rng, num, size, rate, icc, reps)
    for n in ((100, 100), (300, 100), (300, 300)):
        for rates in ((0.02, 0.1), (0.05, 0.3), (0.2, 0.5), (0.01, 0.01)):
            for shared in (0.0, 0.5, 0.9):
                yield cells.mix(rng, n, rates, shared, reps)
    for num, size in ((20, 5), (50, 5), (50, 10), (100, 5), (200, 2)):
        for loss, gain in ((0.02, 0.01), (0.02, 0.02), (0.05, 0.02), (0.1, 0.1)):
            for together in (0.0, 0.6, 0.9):
                yield from cells.paired_clustered(rng, num, size, loss, gain, together, reps)
    for num, size in ((30, 5), (100, 1), (100, 5), (300, 1)):
        for loss, gain in ((0.02, 0.02), (0.05, 0.02), (0.1, 0.1)):
            for together in (0.0, 0.7) if size > 1 else (0.0,):
                yield cells.bootstrap(rng, "percentile", num, size, loss, gain, together, min(reps, 1000))
                yield cells.bootstrap(rng, "bca", num, size, loss, gain, together, min(reps, 1000))


def report(found: Sequence[Cell], reps: int) -> str:
    """The table of `coverage.md`."""
    lines = [
        "# Coverage of the intervals, by simulation",
        "",
        f"`python benchmarks/coverage.py`, seed {SEED}, {reps:,} repetitions a cell, {max(1, reps // 4):,} of "
        "clustered ones; "
        "binomial outcomes and McNemar's are enumerated. On its stated grid an exact interval or test must hold in at "
        "least 95%, any other in 93% to 97%, within twice the simulation error. The grids are where each is valid, "
        "drawn after a first look at where it is not; all cells, also those outside of the grids, are in "
        "`coverage.json`, there also Wilson's worst coverage at a single rate of each band.",
        "",
        "| interval | stated grid | cells | coverage on it | fail | cells outside | coverage outside |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in GRID:
        mine = [cell for cell in found if cell.interval == name]
        on, off = [c for c in mine if inside(c)], [c for c in mine if not inside(c)]
        failed = sum(not passes(cell) for cell in on)
        lines.append(
            f"| {name} | {GRID[name]} | {len(on)} | {_span(on)} | {failed or '–'} | {len(off)} | {_span(off)} |"
        )
    outside = sorted((c for c in found if not inside(c) and c.coverage < LOW), key=lambda c: c.coverage)
    lines += ["", "## Too short, outside of the grids", "", "| interval | setting | coverage |", "|---|---|---|"]
    lines += [f"| {c.interval} | {_setting(c)} | {c.coverage:.3f} |" for c in outside[:20]]
    lines += ["", f"{len(outside)} of {sum(not inside(c) for c in found)} cells outside of the grids are below 93%."]
    return "\n".join(lines) + "\n"


def _span(found: Sequence[Cell]) -> str:
    return f"{min(c.coverage for c in found):.3f}–{max(c.coverage for c in found):.3f}" if found else "–"


def _setting(cell: Cell) -> str:
    return ", ".join(
        f"{name} {round(value, 4) if isinstance(value, float) else value}" for name, value in cell.setting.items()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reps", type=int, default=4000, help="repetitions; clustered cells get a quarter")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    rng, started = np.random.default_rng(SEED), time.perf_counter()
    found = list(binomial_cells())
    found += independent_cells(rng, args.reps)
    found += clustered_cells(rng, max(1, args.reps // 4))
    text = report(found, args.reps)
    args.out.mkdir(parents=True, exist_ok=True)
    rows = [
        vars(c)
        | {"coverage": round(c.coverage, 5), "width": round(c.width, 5), "on_grid": inside(c), "passes": passes(c)}
        for c in found
    ]
    content = {"seed": SEED, "reps": args.reps, "seconds": round(time.perf_counter() - started, 1), "cells": rows}
    lines = ",\n".join(json.dumps(row) for row in rows)
    head = json.dumps({name: value for name, value in content.items() if name != "cells"})[:-1]
    (args.out / "coverage.json").write_text(f'{head}, "cells": [\n{lines}\n]}}\n', "utf-8")
    (args.out / "coverage.md").write_text(text, "utf-8")
    print(text)
    print(f"{content['seconds']} s; wrote {args.out}/coverage.json and coverage.md")


if __name__ == "__main__":
    main()
