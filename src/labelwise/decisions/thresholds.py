"""Per-label thresholds fitted on validation probabilities; rare labels lean on all labels together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from labelwise.errors import LabelwiseError
from labelwise.metrics.arrays import Array, Cells
from labelwise.metrics.threshold import ratio

LOWEST, HIGHEST = 1e-12, 1 - 2.0**-24
FALLBACK = 0.5
Utility = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


@dataclass(frozen=True)
class ThresholdInfo:
    """How each threshold came about.

    Args:
        reasons: `[L]` texts, for people.
        own: `[L]` float64, the label's own best threshold; the pooled one where it has none.
        pooled: the best threshold of all known cells together.
        weight: `[L]` float64 in [0, 1], the share of the own threshold.
        positives: `[L]` int64, known positives.
    """

    reasons: list[str]
    own: np.ndarray
    pooled: float
    weight: np.ndarray
    positives: np.ndarray


def f1_thresholds(
    scores: Array, targets: Array, known: Array | None = None, shrink: float = 10.0
) -> tuple[Array, ThresholdInfo]:
    """Thresholds that maximise each label's F1, `2 TP / (predicted + positives)`, shrunk for rare labels.

    Every cut between two neighbouring distinct scores is tried; the winner (of equals the one in the
    widest gap) gives its midpoint `a_l`. With `w_l = n_l / (n_l + shrink)` of `n_l` known positives and the
    best threshold `a` of all cells pooled, the result is `sigmoid(w_l logit(a_l) + (1 - w_l) logit(a))`.
    A label with fewer than two known positives, or without a known negative, takes `a` itself.

    Args:
        scores: `[N, L]` probabilities in [0, 1].
        targets: `[N, L]`, 0 or 1 where known.
        known: `[N, L]` bool, or `None`.
        shrink: positives at which a label's own threshold counts half; 0 leaves every label its own.

    Returns:
        Thresholds `[L]` float64, within (0, 1), to be compared as score >= threshold, and their origin.

    Raises:
        LabelwiseError: on probabilities outside [0, 1], soft targets, differing shapes, or `shrink < 0`.

    >>> scores = np.array([[0.9], [0.6], [0.3], [0.1]])
    >>> f1_thresholds(scores, np.array([[1], [1], [0], [0]]), shrink=0.0)[0].round(4).tolist()
    [0.45]
    """

    def utility(hits: np.ndarray, predicted: np.ndarray, positives: int) -> np.ndarray:
        return 2 * hits / (predicted + positives)

    return _fit(scores, targets, known, shrink, utility)


def precision_thresholds(
    scores: Array, targets: Array, known: Array | None = None, precision: float = 0.9, shrink: float = 10.0
) -> tuple[Array, ThresholdInfo]:
    """Thresholds of the largest recall whose precision on these cells is at least `precision`.

    Where no cut reaches it, the cut of the highest precision. Other arguments, result and shrinking as in
    `f1_thresholds`; after shrinking a rare label's precision may lie below.
    """
    if not 0 < precision <= 1:
        raise LabelwiseError(f"precision={precision}", "a number in (0, 1]", "give a fraction, such as 0.9")

    def utility(hits: np.ndarray, predicted: np.ndarray, positives: int) -> np.ndarray:
        reached = ratio(hits, predicted)
        return np.where((reached >= precision) & (hits > 0), 1 + hits / positives, reached)

    return _fit(scores, targets, known, shrink, utility)


def cost_thresholds(
    scores: Array,
    targets: Array,
    known: Array | None = None,
    false_positive: float = 1.0,
    false_negative: float = 1.0,
    shrink: float = 10.0,
) -> tuple[Array, ThresholdInfo]:
    """Thresholds of the least `false_positive * FP + false_negative * FN`, both costs positive.

    Other arguments, result and shrinking as in `f1_thresholds`.
    """
    if not (false_positive > 0 and false_negative > 0):
        raise LabelwiseError(
            f"costs {false_positive} and {false_negative}",
            "two positive numbers",
            "give what each mistake costs",
        )

    def utility(hits: np.ndarray, predicted: np.ndarray, positives: int) -> np.ndarray:
        return -false_positive * (predicted - hits) - false_negative * (positives - hits)

    return _fit(scores, targets, known, shrink, utility)


def _fit(
    scores: Array, targets: Array, known: Array | None, shrink: float, utility: Utility
) -> tuple[Array, ThresholdInfo]:
    if not shrink >= 0:
        raise LabelwiseError(
            f"shrink={shrink}", "0 or more", "give the positives at which a label counts half"
        )
    cells = Cells.read(scores, targets, known)
    cells.check_probabilities()
    columns, positive, mask = cells.by_label(0, cells.scores.shape[1])
    seen = np.ones(positive.shape, bool) if mask is None else mask
    pooled = _best(columns[seen], positive[seen], utility)
    positives = positive.sum(axis=1)
    usable = (positives >= 2) & (positives < seen.sum(axis=1))
    own = np.full(len(columns), pooled)
    shared = own.copy()
    for label in np.flatnonzero(usable):
        own[label] = _best(columns[label][seen[label]], positive[label][seen[label]], utility)
    weight = np.where(usable, ratio(positives, positives + shrink), 0.0)
    mixed = 1 / (1 + np.exp(-(weight * _logit(own) + (1 - weight) * _logit(shared))))
    thresholds = np.where(weight == 1, own, np.where(weight == 0, pooled, mixed)).clip(LOWEST, HIGHEST)
    reasons = [
        _reason(int(n), int(m), float(w)) for n, m, w in zip(positives, seen.sum(axis=1), weight, strict=True)
    ]
    if not positive.any():
        reasons = [f"no positives for any label: {FALLBACK}"] * len(columns)
    return cells.back(thresholds), ThresholdInfo(reasons, own, pooled, weight, positives)


def _best(scores: np.ndarray, positive: np.ndarray, utility: Utility) -> float:
    """Midpoint of the best cut, in (0, 1); the fallback without a positive."""
    if not positive.any():
        return FALLBACK
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(positive[order])
    ends = np.flatnonzero(np.diff(ranked, append=-1.0))
    upper, lower = ranked[ends], np.append(ranked[ends[1:]], scores.dtype.type(0))
    value = utility(hits[ends], ends + 1, int(hits[-1]))
    nothing = utility(np.zeros(1, np.int64), np.zeros(1, np.int64), int(hits[-1]))
    upper, lower = np.append(upper, scores.dtype.type(1)), np.append(lower, ranked[0])
    value = np.append(value, nothing)
    middle = (upper + lower) / 2
    middle = np.where(middle > lower, middle, upper)  # neighbours in floating point have no midpoint
    value = np.where((middle < LOWEST) | (middle > HIGHEST), -np.inf, value)
    best = np.flatnonzero(value >= value.max() - 1e-12)
    return float(np.clip(np.float64(middle[best[(upper - lower)[best].argmax()]]), LOWEST, HIGHEST))


def _logit(p: np.ndarray) -> np.ndarray:
    return np.log(p) - np.log1p(-p)


def _reason(positives: int, known: int, weight: float) -> str:
    if positives < 2:
        return (
            f"{positives} known positive{'' if positives == 1 else 's'}: the threshold of all labels together"
        )
    if positives == known:
        return "no known negatives: the threshold of all labels together"
    return f"{positives} known positives: own threshold at weight {weight:.2f}"
