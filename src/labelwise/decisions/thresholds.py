"""Per-label thresholds on calibrated probabilities; rare labels are shrunk towards the expected optimum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from labelwise.errors import LabelwiseError
from labelwise.metrics.arrays import Array, Cells
from labelwise.metrics.threshold import ratio

LOWEST, HIGHEST = 1e-12, 1 - 2.0**-24
FALLBACK = 0.5
SHRINK = 100.0
Utility = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


@dataclass(frozen=True)
class ThresholdInfo:
    """The origin of each threshold.

    Args:
        reasons: `[L]` texts.
        own: `[L]` float64, the best threshold for the label's known cells; `expected` if they are too few.
        expected: `[L]` float64, the best threshold if each cell were positive with its own probability.
        weight: `[L]` float64 in [0, 1], the weight of the own threshold.
        positives: `[L]` int64, known positives.
    """

    reasons: list[str]
    own: np.ndarray
    expected: np.ndarray
    weight: np.ndarray
    positives: np.ndarray


def f1_thresholds(
    scores: Array, targets: Array, known: Array | None = None, shrink: float = SHRINK
) -> tuple[Array, ThresholdInfo]:
    """Thresholds that maximise each label's F1, `2 TP / (predicted + positives)`, shrunk for rare labels.

    Every cut between two neighbouring distinct scores is tried; the threshold is the midpoint of the best one (of
    ties, the one in the widest gap). `a_l` uses the counted positives; `e_l` counts each cell by its probability and
    needs no labels. With `w_l = n_l / (n_l + shrink)` for `n_l` known positives, the result is
    `sigmoid(w_l logit(a_l) + (1 - w_l) logit(e_l))`. A label with fewer than two known positives, or without a known
    negative, uses `e_l`; if no label has a positive, all use 0.5.

    Args:
        scores: `[N, L]` calibrated probabilities in [0, 1]; `e_l` is only as good as the calibration.
        targets: `[N, L]`, 0 or 1 where known.
        known: `[N, L]` bool, or `None`.
        shrink: positives at which a label's own threshold has weight 0.5; 0 gives it weight 1 for every label.

    Returns:
        Thresholds `[L]` float64, within (0, 1), to be compared as score >= threshold, and their origin.

    Raises:
        LabelwiseError: on probabilities outside [0, 1], soft targets, differing shapes, or `shrink < 0`.

    Source: Lipton, Elkan and Narayanaswamy 2014, "Optimal Thresholding of Classifiers to Maximize F1 Measure".

    >>> scores = np.array([[0.9], [0.6], [0.3], [0.1]])
    >>> f1_thresholds(scores, np.array([[1], [1], [0], [0]]), shrink=0.0)[0].round(4).tolist()
    [0.45]
    """

    def utility(hits: np.ndarray, predicted: np.ndarray, positives: float) -> np.ndarray:
        return 2 * hits / (predicted + positives)

    return _shrunk_thresholds(scores, targets, known, shrink, utility)


def precision_thresholds(
    scores: Array, targets: Array, known: Array | None = None, precision: float = 0.9, shrink: float = SHRINK
) -> tuple[Array, ThresholdInfo]:
    """Thresholds of the largest recall whose precision on these cells is at least `precision`.

    If no cut reaches it, the cut of the highest precision is used. Other arguments, result and shrinking as in
    `f1_thresholds`; after shrinking, a rare label's precision may be lower.
    """
    _check_floor("precision", precision)

    def utility(hits: np.ndarray, predicted: np.ndarray, positives: float) -> np.ndarray:
        reached = ratio(hits, predicted)
        return np.where((reached >= precision) & (hits > 0), 1 + hits / positives, reached)

    return _shrunk_thresholds(scores, targets, known, shrink, utility)


def recall_thresholds(
    scores: Array, targets: Array, known: Array | None = None, recall: float = 0.8, shrink: float = SHRINK
) -> tuple[Array, ThresholdInfo]:
    """Thresholds of the highest precision whose recall on these cells is at least `recall`.

    Other arguments, result and shrinking as in `f1_thresholds`; after shrinking, a rare label's recall may be
    lower.
    """
    _check_floor("recall", recall)

    def utility(hits: np.ndarray, predicted: np.ndarray, positives: float) -> np.ndarray:
        reached = hits / positives
        return np.where(reached >= recall - 1e-12, 1 + ratio(hits, predicted), reached)

    return _shrunk_thresholds(scores, targets, known, shrink, utility)


def cost_thresholds(
    scores: Array,
    targets: Array,
    known: Array | None = None,
    false_positive: float = 1.0,
    false_negative: float = 1.0,
    shrink: float = SHRINK,
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

    def utility(hits: np.ndarray, predicted: np.ndarray, positives: float) -> np.ndarray:
        return -false_positive * (predicted - hits) - false_negative * (positives - hits)

    return _shrunk_thresholds(scores, targets, known, shrink, utility)


def _check_floor(name: str, value: float) -> None:
    if not 0 < value <= 1:
        raise LabelwiseError(f"{name}={value}", "a number in (0, 1]", "give a fraction, such as 0.9")


def _shrunk_thresholds(
    scores: Array, targets: Array, known: Array | None, shrink: float, utility: Utility
) -> tuple[Array, ThresholdInfo]:
    """Thresholds per label; with few positives they are drawn towards those of the calibrated probabilities."""
    if not shrink >= 0:
        raise LabelwiseError(
            f"shrink={shrink}", "0 or more", "give the positives at which a label counts half"
        )
    cells = Cells.read(scores, targets, known)
    cells.check_probabilities()
    columns, positive, mask = cells.by_label(0, cells.scores.shape[1])
    is_known = np.ones(positive.shape, bool) if mask is None else mask
    positives, known_cells = positive.sum(axis=1), is_known.sum(axis=1)
    usable = (positives >= 2) & (positives < known_cells)
    own, expected = np.full(len(columns), FALLBACK), np.full(len(columns), FALLBACK)
    for label in range(len(columns)) if positive.any() else ():
        rows = is_known[label] if known_cells[label] else np.isfinite(columns[label])
        p = columns[label][rows]
        expected[label] = _best_threshold(p, p.astype(np.float64), utility)
        own[label] = _best_threshold(p, positive[label][rows], utility) if usable[label] else expected[label]
    weight = np.where(usable, ratio(positives, positives + shrink), 0.0)
    mixed = 1 / (1 + np.exp(-(weight * _logit(own) + (1 - weight) * _logit(expected))))
    thresholds = np.where(weight == 1, own, np.where(weight == 0, expected, mixed)).clip(LOWEST, HIGHEST)
    if positive.any():
        numbers = zip(positives.tolist(), known_cells.tolist(), weight.tolist(), strict=True)
        reasons = [_reason(n, m, w) for n, m, w in numbers]
    else:
        reasons = [f"no positives for any label: {FALLBACK}"] * len(columns)
    return cells.back(thresholds), ThresholdInfo(reasons, own, expected, weight, positives)


def _best_threshold(scores: np.ndarray, positive: np.ndarray, utility: Utility) -> float:
    """Midpoint of the best cut, in (0, 1); `positive` holds each cell's weight. The fallback if all are 0."""
    if not positive.any():
        return FALLBACK
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(positive[order])
    ends = np.flatnonzero(np.diff(ranked, append=-1.0))
    upper, lower = ranked[ends], np.append(ranked[ends[1:]], scores.dtype.type(0))
    value = utility(hits[ends], ends + 1, float(hits[-1]))
    none_selected = utility(np.zeros(1, np.int64), np.zeros(1, np.int64), float(hits[-1]))
    upper, lower = np.append(upper, scores.dtype.type(1)), np.append(lower, ranked[0])
    value = np.append(value, none_selected)
    middle = (upper + lower) / 2
    middle = np.where(middle > lower, middle, upper)  # neighbours in floating point have no midpoint
    value = np.where((middle < LOWEST) | (middle > HIGHEST), -np.inf, value)
    best = np.flatnonzero(value >= value.max() - 1e-12)
    return float(np.clip(np.float64(middle[best[(upper - lower)[best].argmax()]]), LOWEST, HIGHEST))


def _logit(p: np.ndarray) -> np.ndarray:
    return np.log(p) - np.log1p(-p)


def _reason(positives: int, known: int, weight: float) -> str:
    """Where a label's threshold comes from, as text."""
    if positives < 2:
        counted = f"{positives} known positive{'' if positives == 1 else 's'}"
        return f"{counted}: what the probabilities expect"
    if positives == known:
        return "no known negatives: what the probabilities expect"
    return f"{positives} known positives: own threshold at weight {weight:.2f}"
