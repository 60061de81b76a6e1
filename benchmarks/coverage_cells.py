"""Simulated coverage of every interval in `safekeel.stats`: one function per interval, one `Cell` per setting.

Counts are drawn for all repetitions at once, and an interval is computed once per distinct outcome. Where the outcomes
can be enumerated nothing is drawn at all.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from safekeel.stats.bootstrap import Kind, cluster_interval
from safekeel.stats.clustered import clustered_rate, weighted_rate
from safekeel.stats.compare import holm, paired_difference, tango
from safekeel.stats.compare import mcnemar as mcnemar_p
from safekeel.stats.double_sampling import Stratum, corrected_rate
from safekeel.stats.intervals import clopper_pearson, lower_bound, upper_bound, wilson
from safekeel.stats.judge_error import JudgeError, corrected_interval

Ends = tuple[float, float]


@dataclass(frozen=True)
class Cell:
    """How often an interval held the truth in one setting; `reps` = 0 where outcomes were enumerated."""

    interval: str
    setting: dict[str, Any]
    coverage: float
    width: float
    reps: int

    @property
    def noise(self) -> float:
        """Standard error of the coverage from drawing."""
        return (self.coverage * (1 - self.coverage) / self.reps) ** 0.5 if self.reps else 0.0


def tally(draws: np.ndarray, truth: float, ends: Callable[..., Ends]) -> Ends:
    """(coverage, mean width) over repetitions; `draws` is repetitions x counts, one call per distinct row."""
    rows, counts = np.unique(draws, axis=0, return_counts=True)
    found = np.array([tuple(ends(*map(int, row))) for row in rows])
    held = (found[:, 0] <= truth + 1e-12) & (truth <= found[:, 1] + 1e-12)
    share = counts / counts.sum()
    return float(held @ share), float((found[:, 1] - found[:, 0]) @ share)


BINOMIAL: dict[str, Callable[[int, int], Ends]] = {
    "wilson": lambda hits, n: wilson(hits, n),
    "clopper_pearson": lambda hits, n: clopper_pearson(hits, n),
    "lower_bound (one-sided)": lambda hits, n: (lower_bound(hits, n), 1.0),
    "upper_bound (one-sided)": lambda hits, n: (0.0, upper_bound(hits, n)),
}


def binomial(name: str, n: int, rates: Sequence[float]) -> list[float]:
    """Exact coverage at every true rate."""
    hits = np.arange(n + 1)
    found = np.array([tuple(BINOMIAL[name](int(k), n)) for k in hits])
    held = [(found[:, 0] <= rate + 1e-12) & (rate <= found[:, 1] + 1e-12) for rate in rates]
    return [float(stats.binom.pmf(hits, n, rate) @ inside) for rate, inside in zip(rates, held, strict=True)]


def clustered_hits(rng: np.random.Generator, num: int, size: int, rate: float, icc: float, reps: int) -> np.ndarray:
    """Yes/no outcomes, repetitions x clusters x size: with probability sqrt(icc) an item copies its cluster's draw."""
    shared = rng.random((reps, num, 1)) < rate
    copies = rng.random((reps, num, size)) < np.sqrt(icc)
    return np.asarray(np.where(copies, shared, rng.random((reps, num, size)) < rate))


def clustered(rng: np.random.Generator, num: int, size: int, rate: float, icc: float, reps: int) -> Cell:
    owners = np.repeat(np.arange(num), size).tolist()
    drawn = clustered_hits(rng, num, size, rate, icc, reps).reshape(reps, -1)
    found = [clustered_rate(row.tolist(), owners) for row in drawn]
    setting = {"clusters": num, "size": size, "rate": rate, "icc": icc}
    return _cell("clustered_rate", setting, [(r.low, r.high) for r in found], rate)


def mix(rng: np.random.Generator, n: tuple[int, int], rates: tuple[float, float], shared: float, reps: int) -> Cell:
    """71:29 of plain and jailbreak; `shared` is the correlation of an attack with its goal asked plainly."""
    weights, num = (0.71, 0.29), max(n)
    uniform = rng.random((reps, num))
    plain = uniform[:, : n[0]] < rates[0]
    follows = rng.random((reps, n[1])) < shared
    attacked = np.where(follows, uniform[:, : n[1]], rng.random((reps, n[1]))) < rates[1]
    owners = [list(range(n[0])), list(range(n[1]))] if shared else [list(range(n[0])), list(range(num, num + n[1]))]
    found = [weighted_rate([p.tolist(), a.tolist()], weights, owners) for p, a in zip(plain, attacked, strict=True)]
    setting = {"n": n, "rates": rates, "shared": shared}
    truth = weights[0] * rates[0] + weights[1] * rates[1]
    return _cell("weighted_rate 71:29", setting, [(r.low, r.high) for r in found], truth)


def paired(rng: np.random.Generator, n: int, loss: float, gain: float, reps: int) -> list[Cell]:
    """Tango's interval, and the one-sided bounds that a loss verdict uses, over independent pairs."""
    draws = rng.multinomial(n, [loss, gain, 1 - loss - gain], size=reps)[:, :2]
    setting = {"n": n, "loss": loss, "gain": gain}
    two = tally(draws, gain - loss, lambda b, c: tango(b, c, n))
    upper = tally(draws, loss - gain, lambda b, c: (-1.0, -tango(b, c, n, 0.90).low))
    lower = tally(draws, loss - gain, lambda b, c: (-tango(b, c, n, 0.90).high, 1.0))
    names = ("tango", "loss upper bound (one-sided)", "loss lower bound (one-sided)")
    return [Cell(name, setting, *found, reps) for name, found in zip(names, (two, upper, lower), strict=True)]


def changes(
    rng: np.random.Generator, num: int, size: int, loss: float, gain: float, together: float, reps: int
) -> np.ndarray:
    """Changes of -1, 0, 1, repetitions x clusters x size; an item follows its cluster with probability `together`."""

    def draw(shape: tuple[int, ...]) -> np.ndarray:
        uniform = rng.random(shape)
        return np.where(uniform < loss, -1, np.where(uniform < loss + gain, 1, 0))

    follows = rng.random((reps, num, size)) < together
    return np.asarray(np.where(follows, draw((reps, num, 1)), draw((reps, num, size))))


def paired_clustered(
    rng: np.random.Generator, num: int, size: int, loss: float, gain: float, together: float, reps: int
) -> list[Cell]:
    """The interval of `paired_difference` and the level of its test where items share clusters."""
    owners = np.repeat(np.arange(num), size).tolist()
    drawn = changes(rng, num, size, loss, gain, together, reps).reshape(reps, -1)
    found = [paired_difference((row != 1).tolist(), (row != -1).tolist(), owners) for row in drawn]
    setting = {"clusters": num, "size": size, "loss": loss, "gain": gain, "together": together}
    cells = [_cell("paired_difference, clustered", setting, [(f.low, f.high) for f in found], gain - loss)]
    if loss == gain:
        kept = float(np.mean([f.p >= 0.05 for f in found]))
        cells.append(Cell("test of no change, clustered", setting, kept, 0.0, reps))
    return cells


def bootstrap(
    rng: np.random.Generator, kind: Kind, num: int, size: int, loss: float, gain: float, together: float, reps: int
) -> Cell:
    sums = changes(rng, num, size, loss, gain, together, reps).sum(axis=2).astype(float)
    sizes = np.full(num, float(size))
    found = [cluster_interval(row, sizes, 0.95, 1000, seed, kind) for seed, row in enumerate(sums)]
    setting = {"clusters": num, "size": size, "loss": loss, "gain": gain, "together": together}
    return _cell(f"bootstrap, {kind}", setting, found, gain - loss)


def mcnemar(n: int, discordant: float) -> Cell:
    """Share of cases in which the exact test keeps "no change" when nothing changed; enumerated."""
    kept = 0.0
    for k in range(n + 1):
        weight = float(stats.binom.pmf(k, n, discordant))
        if weight > 1e-9:
            # The p-value grows with the smaller count, so the first one that is kept tells all that are.
            first = bisect.bisect_left(range(k // 2 + 1), True, key=lambda few, k=k: mcnemar_p(few, k - few) >= 0.05)
            kept += weight * (1 - 2 * float(stats.binom.cdf(first - 1, k, 0.5)))
    return Cell("McNemar, exact", {"n": n, "discordant": discordant}, kept, 0.0, 0)


def family(rng: np.random.Generator, num: int, reps: int) -> Cell:
    """Share of families without any true effect in which Holm's adjustment finds none."""
    kept = [min(holm(row.tolist())) >= 0.05 for row in rng.random((reps, num))]
    return Cell("Holm, whole family", {"tests": num}, float(np.mean(kept)), 0.0, reps)


def judged(
    rng: np.random.Generator, n: int, calibration: int, rate: float, sensitivity: float, specificity: float, reps: int
) -> Cell:
    """Rogan-Gladen with `calibration` labelled items of each kind."""
    seen = rate * sensitivity + (1 - rate) * (1 - specificity)
    draws = np.stack(
        [
            rng.binomial(n, seen, reps),
            rng.binomial(calibration, sensitivity, reps),
            rng.binomial(calibration, specificity, reps),
        ],
        axis=1,
    )

    def ends(hits: int, found: int, kept: int) -> Ends:
        low, high = corrected_interval(hits, n, JudgeError(found, calibration, kept, calibration))
        return low, high

    setting = {"n": n, "calibration": calibration, "rate": rate, "sens": sensitivity, "spec": specificity}
    return Cell("Rogan-Gladen", setting, *tally(draws, rate, ends), reps)


def double(
    rng: np.random.Generator, rows: int, labelled: int, rate: float, sens: float, spec: float, reps: int
) -> Cell:
    """Double sampling: all rows judged, `labelled` of them read by people, each judged label in its proportion."""
    truth = rng.random((reps, rows)) < rate
    yes = np.where(truth, rng.random((reps, rows)) < sens, rng.random((reps, rows)) >= spec)
    sizes, hits = yes.sum(axis=1), (yes & truth).sum(axis=1)
    from_yes = np.rint(sizes * labelled / rows).astype(int)
    found = rng.hypergeometric(hits, sizes - hits, from_yes)
    missed = truth.sum(axis=1) - hits
    also = rng.hypergeometric(missed, rows - sizes - missed, labelled - from_yes)
    draws = np.stack([sizes, from_yes, found, also], axis=1)

    def ends(size: int, drawn: int, found_here: int, found_there: int) -> Ends:
        both = [Stratum(size, drawn, found_here), Stratum(rows - size, labelled - drawn, found_there)]
        result = corrected_rate(both)
        return result.low, result.high

    setting = {"rows": rows, "labelled": labelled, "rate": rate, "sens": sens, "spec": spec}
    return Cell("double sampling", setting, *tally(draws, rate, ends), reps)


def _cell(name: str, setting: dict[str, Any], ends: Sequence[Ends], truth: float) -> Cell:
    found = np.array(ends)
    held = (found[:, 0] <= truth + 1e-12) & (truth <= found[:, 1] + 1e-12)
    return Cell(name, setting, float(held.mean()), float((found[:, 1] - found[:, 0]).mean()), len(found))
