"""Precision, recall and F1 at a threshold, over labels (C) and over all cells (O)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from labelwise.errors import LabelwiseError
from labelwise.metrics.arrays import Array, Cells, as_numpy, one_of

TOP_K_RULES = ("and-threshold", "always")
_LARGEST_SCANNED = 16  # top k are found by k scans up to here, then by a sort
Number = np.ndarray | np.generic | float


@dataclass(frozen=True)
class Counts:
    """Counts over known cells, each `[L]` int64: true positives, predicted, positive and known cells."""

    hits: np.ndarray
    predicted: np.ndarray
    positives: np.ndarray
    known: np.ndarray


def threshold_metrics(
    scores: Array,
    targets: Array,
    known: Array | None = None,
    threshold: float | Sequence[float] | Array = 0.5,
    top_k: int | None = None,
    top_k_rule: str = "and-threshold",
) -> dict[str, float]:
    """Precision, recall and F1 of the labels predicted where `score >= threshold`.

    With `P_l`, `R_l` of label `l` (`P_l = 0` if it is never predicted): `CP`, `CR` are their means over the
    labels that have a known positive and a known negative, `CF1 = 2 CP CR / (CP + CR)`,
    `CF1_macro = mean_l 2 P_l R_l / (P_l + R_l)`; `OP`, `OR` pool the cells of all labels, as published, and
    `OF1` is their harmonic mean. Without a negative no prediction of a label can be wrong, and `P_l` would be 1.

    Args:
        scores: `[N, L]` float.
        targets: `[N, L]`, 0 or 1 where known.
        known: `[N, L]` bool; unknown cells are not counted and are not among the top k.
        threshold: one number, or one per label; compared as NumPy compares `scores >= threshold`.
        top_k: use only the k highest known scores of an image; ties are broken by label order.
        top_k_rule: `"and-threshold"`: of the top k those that reach the threshold; `"always"`: all k.

    Returns:
        `CP, CR, CF1, OP, OR, OF1, CF1_macro` as fractions; NaN where there is no label to average over, or where
        the pooled cells hold no positive or no negative.

    Raises:
        LabelwiseError: on shapes that differ, soft targets, NaN or infinite scores, or wrong options.

    >>> y = np.array([[1, 1], [1, 0], [0, 0], [0, 0]])
    >>> p = np.array([[0.9, 0.9], [0.1, 0.9], [0.1, 0.9], [0.1, 0.9]])
    >>> {name: round(value, 3) for name, value in threshold_metrics(p, y).items()}
    {'CP': 0.625, 'CR': 0.75, 'CF1': 0.682, 'OP': 0.4, 'OR': 0.667, 'OF1': 0.5, 'CF1_macro': 0.533}
    """
    return summarise_decisions(count_decisions(scores, targets, known, threshold, top_k, top_k_rule))


def count_decisions(
    scores: Array,
    targets: Array,
    known: Array | None = None,
    threshold: float | Sequence[float] | Array = 0.5,
    top_k: int | None = None,
    top_k_rule: str = "and-threshold",
) -> Counts:
    """The counts of `threshold_metrics`; same arguments. Counts of parts can be added."""
    one_of("top_k_rule", top_k_rule, TOP_K_RULES)
    if top_k is not None and top_k < 1:
        raise LabelwiseError(f"top_k={top_k}", "at least 1", "give a positive number or None")
    cells = Cells.read(scores, targets, known)
    cells.check_scores()
    limit = per_label(threshold, cells.scores.shape[1])
    sums = np.zeros((4, cells.scores.shape[1]), dtype=np.int64)
    for rows in _chunks(cells.scores.shape):
        tile = cells.scores[rows]
        mask = None if cells.known is None else cells.known[rows]
        predicted = (
            tile >= limit if top_k is None or top_k_rule == "and-threshold" else np.ones(tile.shape, bool)
        )
        if top_k is not None:
            predicted &= highest(tile, mask, top_k)
        if mask is not None:
            predicted &= mask
        positive = cells.positive(rows)
        sums[0] += column_sums(predicted & positive)
        sums[1] += column_sums(predicted)
        sums[2] += column_sums(positive)
        sums[3] += len(tile) if mask is None else column_sums(mask)
    return Counts(*sums)


def summarise_decisions(counts: Counts) -> dict[str, float]:
    """The metrics of `threshold_metrics` from counts."""
    negatives = counts.known - counts.positives
    has_both = (counts.positives > 0) & (negatives > 0)
    precision = ratio(counts.hits, counts.predicted)[has_both]
    recall = ratio(counts.hits, counts.positives)[has_both]
    if not has_both.any():
        precision = recall = np.array([np.nan])
    hits, predicted, positives = counts.hits.sum(), counts.predicted.sum(), counts.positives.sum()
    defined = positives > 0 and negatives.sum() > 0
    overall_p = float(ratio(hits, predicted)) if defined else float("nan")
    overall_r = float(ratio(hits, positives)) if defined else float("nan")
    mean_p, mean_r = float(precision.mean()), float(recall.mean())
    return {
        "CP": mean_p,
        "CR": mean_r,
        "CF1": float(harmonic(mean_p, mean_r)),
        "OP": overall_p,
        "OR": overall_r,
        "OF1": float(harmonic(overall_p, overall_r)),
        "CF1_macro": float(harmonic(precision, recall).mean()),
    }


def highest(scores: np.ndarray, known: np.ndarray | None, k: int) -> np.ndarray:
    """Bool `[N, L]`: exactly the k highest known cells of each row (all, if fewer); ties are broken by column."""
    remaining = scores.copy() if known is None else np.where(known, scores, -np.inf)
    if k >= scores.shape[1]:
        return np.ones(scores.shape, bool) if known is None else known.copy()
    chosen, rows = np.zeros(scores.shape, bool), np.arange(len(scores))
    if k > _LARGEST_SCANNED:
        np.put_along_axis(chosen, np.argsort(-remaining, axis=1, kind="stable")[:, :k], True, axis=1)
    else:
        for _ in range(k):
            best = remaining.argmax(axis=1)
            chosen[rows, best] = True
            remaining[rows, best] = -np.inf
    return chosen if known is None else chosen & known


def per_label(threshold: float | Sequence[float] | Array, labels: int) -> float | np.ndarray:
    """A threshold as one number or a checked `[L]` array."""
    limit = as_numpy(threshold)
    if limit.ndim > 1 or (limit.ndim == 1 and len(limit) != labels):
        raise LabelwiseError(
            f"threshold of shape {limit.shape}",
            f"one number, or {labels}, one per label",
            "check the label order",
        )
    if np.isnan(limit).any():
        raise LabelwiseError("a threshold that is NaN", "numbers", "fit the thresholds again")
    return float(limit) if limit.ndim == 0 else limit


def column_sums(mask: np.ndarray) -> np.ndarray:
    """True cells of each column, `[L]` int64; adds 255 long rows of bytes, which cannot overflow."""
    cells = np.ascontiguousarray(mask).view(np.uint8)
    runs, labels = len(cells) // 255, cells.shape[1]
    run_sums = cells[: runs * 255].reshape(255, runs * labels).sum(axis=0, dtype=np.uint8)
    last_sums = cells[runs * 255 :].sum(axis=0, dtype=np.uint8)
    return run_sums.reshape(runs, labels).sum(axis=0, dtype=np.int64) + last_sums.astype(np.int64)


def ratio(top: Number, bottom: Number) -> np.ndarray:
    """`top / bottom` in float64, 0 where the bottom is 0."""
    top, bottom = np.asarray(top, dtype=np.float64), np.asarray(bottom, dtype=np.float64)
    return np.divide(top, bottom, out=np.zeros(np.broadcast(top, bottom).shape), where=bottom != 0)


def harmonic(a: Number, b: Number) -> np.ndarray:
    """Harmonic mean `2ab / (a + b)`, 0 where both are 0."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    return ratio(2 * a * b, a + b)


def _chunks(shape: tuple[int, ...]) -> list[slice]:
    """Row slices of about 160,000 cells, multiples of 255 rows where there are that many."""
    size = max(1, 160_000 // max(shape[1], 1) // 255) * 255
    return [slice(first, first + size) for first in range(0, shape[0], size)]
