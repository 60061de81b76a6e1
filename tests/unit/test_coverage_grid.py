"""A fast part of `benchmarks/coverage.py`: exact intervals cover at least 95%, others 93% to 97% on the stated grid."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from benchmarks import coverage
from benchmarks import coverage_cells as cells
from safekeel.stats import intervals

REPS = 1000
RESULT = Path(coverage.OUT) / "coverage.json"


def test_enumerated_coverage() -> None:
    found = list(coverage.binomial_cells())
    failed = [cell for cell in found if coverage.inside(cell) and not coverage.passes(cell)]
    assert not failed and {"clopper_pearson", "wilson", "McNemar, exact"} <= {cell.interval for cell in found}


def test_simulated_coverage() -> None:
    """Fixed seed, so never flaky. Slack is three simulation errors here, for the few repetitions."""
    rng = np.random.default_rng(coverage.SEED)
    found = [
        *cells.paired(rng, 300, 0.05, 0.02, REPS),
        *cells.paired(rng, 2000, 0.005, 0.005, REPS),
        cells.family(rng, 9, REPS),
        cells.judged(rng, 300, 100, 0.1, 0.9, 0.95, REPS),
        cells.judged(rng, 1000, 300, 0.02, 0.9, 0.95, REPS),
        cells.double(rng, 1000, 300, 0.1, 0.7, 0.9, REPS),
        cells.double(rng, 5000, 600, 0.03, 0.7, 0.9, REPS),
        cells.clustered(rng, 60, 5, 0.3, 0.3, REPS // 3),
        cells.mix(rng, (100, 100), (0.05, 0.3), 0.5, REPS // 3),
        *cells.paired_clustered(rng, 100, 5, 0.1, 0.1, 0.6, REPS // 5),
        cells.bootstrap(rng, "percentile", 100, 5, 0.1, 0.1, 0.7, 200),
    ]
    for cell in found:
        assert coverage.inside(cell), cell
        slack = 3 * max(cell.noise, 0.004)
        low = coverage.AT_LEAST if cell.interval in coverage.EXACT else coverage.LOW
        high = 1.0 if cell.interval in (*coverage.EXACT, *coverage.CONSERVATIVE) else coverage.HIGH
        assert low - slack <= cell.coverage <= high + slack, cell


def test_the_simulation_would_notice_a_wrong_interval() -> None:
    """Wald's interval, which has no length at zero hits, fails where Wilson's passes."""

    def wald(hits: int, n: int) -> tuple[float, float]:
        rate = hits / n
        half = intervals.normal_quantile(0.975) * (rate * (1 - rate) / n) ** 0.5
        return rate - half, rate + half

    rng = np.random.default_rng(0)
    draws = rng.binomial(100, 0.02, 2000)[:, None]
    assert cells.tally(draws, 0.02, lambda hits: wald(hits, 100))[0] < 0.9
    assert cells.tally(draws, 0.02, lambda hits: tuple(intervals.clopper_pearson(hits, 100)))[0] >= 0.95


def test_the_committed_table_passes() -> None:
    """What docs/results/coverage says: nothing on a stated grid fails, and every interval has cells."""
    if not RESULT.is_file():
        pytest.skip("docs/results/coverage/coverage.json is not in this checkout")
    rows = json.loads(RESULT.read_text("utf-8"))["cells"]
    by_interval = defaultdict(list)
    for row in rows:
        by_interval[row["interval"]].append(row)
    assert set(by_interval) == set(coverage.GRID)
    assert not [row for row in rows if row["on_grid"] and not row["passes"]]
