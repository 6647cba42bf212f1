"""Calibration of each label's logit on validation cells; rare labels are shrunk towards a shared calibration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from labelwise.decisions.decisions import sigmoid
from labelwise.errors import LabelwiseError
from labelwise.metrics.arrays import Array, Cells, one_of

KINDS = ("platt", "temperature")
STEEPEST, FLATTEST = 20.0, 0.05
_MOST_STEPS, _TOLERANCE = 50, 1e-10


@dataclass(frozen=True)
class Calibration:
    """`p = sigmoid(scale z + bias)`.

    Args:
        scale: `[L]` float64, positive.
        bias: `[L]` float64.
        own: `[L]` bool, whether the label had enough cells for its own fit.
    """

    scale: np.ndarray
    bias: np.ndarray
    own: np.ndarray


def calibrate(
    logits: Array, targets: Array, known: Array | None = None, kind: str = "platt", shrink: float = 3.0
) -> Calibration:
    """Scale and bias of each label's logit, by penalised likelihood around a pair shared by all labels.

    First one pair is fitted to all known cells: `u = scale z + bias`. Then label `l` is fitted by

        min over a, d of  -sum_n log p(y_nl | sigmoid(a u_nl + d)) + shrink / 2 ((a - 1)^2 + d^2),

    so that many positives and negatives outweigh the penalty and few do not; the result is `a scale` and
    `a bias + d`. `a` stays within [0.05, 20], so that the order of a label's images, and its AP, is unchanged.
    A label with fewer than two known positives, or without a known negative, uses the shared pair.

    Args:
        logits: `[N, L]` finite where known.
        targets: `[N, L]`, 0 or 1 where known.
        known: `[N, L]` bool, or `None`.
        kind: `"platt"`: scale and bias; `"temperature"`: the scale alone.
        shrink: weight of the penalty, over 0.

    Raises:
        LabelwiseError: on NaN, soft targets, differing shapes, another kind, or `shrink <= 0`.

    Source: Platt 1999, "Probabilistic Outputs for Support Vector Machines"; Guo et al. 2017, "On Calibration
    of Modern Neural Networks" (temperature).
    Differs: a ridge penalty towards the shared pair replaces Platt's smoothed targets.

    >>> z = np.array([[-4.0], [-2.0], [2.0], [4.0]] * 50)
    >>> y = np.array([[0], [1], [0], [1]] * 50)
    >>> bool(calibrate(z, y).scale[0] < 0.5)
    True
    """
    one_of("calibration", kind, KINDS)
    if not shrink > 0:
        raise LabelwiseError(f"shrink={shrink}", "over 0", "give the weight of the penalty")
    cells = Cells.read(logits, targets, known)
    cells.check_scores()
    z, positive, mask = cells.by_label(0, cells.scores.shape[1])
    is_known = np.ones(positive.shape, bool) if mask is None else mask
    positives = positive.sum(axis=1)
    own = (positives >= 2) & (positives < is_known.sum(axis=1))
    z, with_bias = z.astype(np.float64), kind == "platt"
    scale, bias = 1.0, 0.0
    if 0 < positives.sum() < is_known.sum():
        scale, bias = ridge(z[is_known], positive[is_known], 1.0, with_bias)
    scales, biases = np.full(len(z), scale), np.full(len(z), bias)
    for label in np.flatnonzero(own):
        u = scale * z[label][is_known[label]] + bias
        a, d = ridge(u, positive[label][is_known[label]], shrink, with_bias)
        scales[label], biases[label] = a * scale, a * bias + d
    return Calibration(scales, biases, own)


def ridge(u: np.ndarray, positive: np.ndarray, shrink: float, with_bias: bool) -> tuple[float, float]:
    """Minimises `-sum log p(y | sigmoid(a u + d)) + shrink / 2 ((a - 1)^2 + d^2)` by Newton's method.

    The sum is convex in `(a, d)`; a step that does not lower it is halved, and `a` is clipped to its range.
    """
    y, x = positive.astype(np.float64), np.stack([u, np.full(len(u), float(with_bias))])
    start = np.array([1.0, 0.0])

    def cost(w: np.ndarray) -> float:
        z = w @ x
        return float((np.logaddexp(0, z) - y * z).sum() + shrink / 2 * ((w - start) ** 2).sum())

    w, value = start, cost(start)
    for _ in range(_MOST_STEPS):
        p = sigmoid(w @ x)
        gradient = x @ (p - y) + shrink * (w - start)
        hessian = (x * (p * (1 - p))) @ x.T + shrink * np.eye(2)
        at_edge = (w[0] <= FLATTEST and gradient[0] > 0) or (w[0] >= STEEPEST and gradient[0] < 0)
        step = np.array([0.0, gradient[1] / hessian[1, 1]]) if at_edge else np.linalg.solve(hessian, gradient)
        w, old_value, value = _backtrack(cost, w, step, value)
        if old_value - value <= _TOLERANCE * (1 + abs(value)):
            break
    return float(w[0]), float(w[1])


def _backtrack(
    cost: Callable[[np.ndarray], float], w: np.ndarray, step: np.ndarray, old_value: float
) -> tuple[np.ndarray, float, float]:
    """Halves the step until it lowers the cost; returns the new point, the cost before and the cost there."""
    for _ in range(30):
        new = w - step
        new[0] = np.clip(new[0], FLATTEST, STEEPEST)
        if (value := cost(new)) < old_value:
            return new, old_value, value
        step = step / 2
    return w, old_value, old_value
