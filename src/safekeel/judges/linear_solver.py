"""The numerical part of fitting a linear head: logistic regression, Platt's calibration, bounds for abstaining."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.sparse import csr_matrix

from safekeel.judges.linear_features import Hashed

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
STRENGTH = 20.0
"""Weight of the examples' loss against half the squared weights; 3 to 100 gave the same within one standard error."""
MAX_STEPS = 200
MIN_SAID = 40  # rows of a source below which its share of right ones says too little to decide on a bound
BOUNDS = tuple(round(0.5 + 0.01 * step, 2) for step in range(50))


@dataclass(frozen=True)
class Rows:
    """Labelled texts of one head; arrays have one entry per row, the matrix one column per bucket."""

    matrix: csr_matrix
    labels: Bools
    weights: Floats
    folds: npt.NDArray[np.int64]
    sources: npt.NDArray[np.str_]

    def only(self, rows: Bools) -> Rows:
        """A part of the rows."""
        return Rows(self.matrix[rows], self.labels[rows], self.weights[rows], self.folds[rows], self.sources[rows])


def matrix_of(texts: Sequence[Hashed], num_buckets: int) -> csr_matrix:
    """Texts as rows, buckets as columns; a bucket that two spaces share gets the sum."""
    starts = np.cumsum([0, *(len(text.buckets) for text in texts)])
    buckets = np.concatenate([text.buckets for text in texts]).astype(np.int32)
    values = np.concatenate([text.values for text in texts])
    return csr_matrix((values, buckets, starts), (len(texts), num_buckets))


def solve(rows: Rows) -> tuple[Floats, float]:
    """Weights and bias that minimise STRENGTH * logistic loss + |weights|^2 / 2, by L-BFGS."""
    transposed = rows.matrix.T.tocsr()
    signs = np.where(rows.labels, 1.0, -1.0)

    def loss(point: Floats) -> tuple[float, Floats]:
        weights, bias = point[:-1], point[-1]
        margins = signs * (rows.matrix @ weights + bias)
        slopes = -STRENGTH * rows.weights * signs * np.exp(-np.logaddexp(0, margins))
        value = STRENGTH * (rows.weights @ np.logaddexp(0, -margins)) + weights @ weights / 2
        return float(value), np.append(transposed @ slopes + weights, slopes.sum())

    start = np.zeros(rows.matrix.shape[1] + 1)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": MAX_STEPS}).x
    return found[:-1], float(found[-1])


def calibrated(scores: Floats, rows: Rows) -> tuple[float, float]:
    """Slope and offset of Platt's (1999) logistic curve, with his targets, which keep it from certainty."""
    yes, no = rows.weights[rows.labels].sum(), rows.weights[~rows.labels].sum()
    targets = np.where(rows.labels, (yes + 1) / (yes + 2), 1 / (no + 2))

    def loss(point: Floats) -> tuple[float, Floats]:
        logits = point[0] * scores + point[1]
        value = rows.weights @ (np.logaddexp(0, logits) - targets * logits)
        error = rows.weights * (1 / (1 + np.exp(-logits)) - targets)
        return float(value), np.array([error @ scores, error.sum()])

    slope, offset = minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B").x
    return float(slope), float(offset)


def bounds(probabilities: Floats, rows: Rows, target: float) -> tuple[float | None, float | None]:
    """From which probability on `yes`, and up to which `no`, is right often enough: for all rows of that side and in
    each source that has `MIN_SAID` of them. None where no bound does it."""
    yes = _bound(probabilities, rows.labels, rows, target)
    no = _bound(1 - probabilities, ~rows.labels, rows, target)
    return yes, None if no is None else round(1 - no, 2)


def _bound(probabilities: Floats, right: Bools, rows: Rows, target: float) -> float | None:
    for bound in BOUNDS:
        said = probabilities >= bound
        if said.sum() < MIN_SAID:
            return None
        groups = [said, *(said & (rows.sources == source) for source in np.unique(rows.sources))]
        if all(right[group].mean() >= target for group in groups if group.sum() >= MIN_SAID):
            return bound
    return None
