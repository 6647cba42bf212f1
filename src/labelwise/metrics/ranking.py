"""Ranking metrics: average precision per label, its mean, and the precision-recall curve."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from labelwise.errors import LabelwiseError
from labelwise.metrics.arrays import Array, Cells, as_numpy, one_of
from labelwise.metrics.attributes import one_sided

KINDS = ("raw", "envelope", "11point")
EMPTY = ("skip", "zero")
MAX_BLOCK = 64
SMALL = 1 << 18


def average_precision(scores: Array, targets: Array, known: Array | None = None, kind: str = "raw") -> Array:
    """Exact average precision of each label, images ranked by descending score; tied scores form one step.

    With `P_j`, `R_j` precision and recall at the j-th distinct score from the top and `R_0 = 0`:
    `raw` is `sum_j (R_j - R_{j-1}) P_j`; `envelope` puts `max_{i>=j} P_i` for `P_j`; `11point` is
    `1/11 sum_{r in 0, .1 .. 1} max_{R_j >= r} P_j`.

    Args:
        scores: `[N, L]` float, any strictly increasing function of the logits; logits are the most precise.
        targets: `[N, L]`, 0 or 1 where known.
        known: `[N, L]` bool; unknown cells have no influence. `None`: all known.
        kind: `"raw"`, `"envelope"` or `"11point"`.

    Returns:
        `[L]` float64 in (0, 1]; NaN for a label without a known positive, and for one without a known negative,
        for which any order of the images has AP 1. A tensor if the scores were one.

    Raises:
        LabelwiseError: on shapes that differ, soft targets, NaN or infinite scores, or an unknown kind.

    Source: PASCAL VOC 2007 (11point) and 2010 (envelope) development kits.
    Differs: scikit-learn returns 1 for a label without a negative, and 0 for one without a positive.

    >>> scores, targets = np.array([[5.0], [4.0], [3.0], [2.0], [1.0]]), np.array([[0], [1], [1], [0], [1]])
    >>> [round(float(average_precision(scores, targets, kind=k)[0]), 6) for k in KINDS]
    [0.588889, 0.644444, 0.642424]
    """
    one_of("kind", kind, KINDS)
    cells = Cells.read(scores, targets, known)
    images, labels = cells.scores.shape
    threads = torch.get_num_threads() if images * labels >= SMALL else 1
    width = max(1, min(MAX_BLOCK, -(-labels // (2 * threads))))
    starts = range(0, labels, width)

    def block(start: int) -> list[float]:
        return _block_values(cells, start, min(start + width, labels), kind)

    if threads == 1:
        parts = [block(start) for start in starts]
    else:
        with ThreadPoolExecutor(threads) as pool:  # NumPy's sort and copies release the interpreter lock
            parts = list(pool.map(block, starts))
    return cells.back(np.array([value for part in parts for value in part]))


def mean_average_precision(
    scores: Array, targets: Array, known: Array | None = None, kind: str = "raw", empty: str = "skip"
) -> float:
    """Mean of `average_precision` over the labels that have a known positive and a known negative.

    Args:
        scores: `[N, L]` float.
        targets: `[N, L]`, 0 or 1 where known.
        known: `[N, L]` bool, or `None`.
        kind: as in `average_precision`.
        empty: treatment of a label without a known positive: `"skip"` leaves it out, `"zero"` counts it as 0. A label
            that has positives but no known negative is left out in both.

    Returns:
        A number in [0, 1]; NaN if every label is left out. `without_average_precision` lists these labels.

    Raises:
        LabelwiseError: as `average_precision`, or on an unknown `empty`.

    >>> mean_average_precision(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([[1, 0], [0, 0]]), empty="zero")
    0.5
    """
    one_of("empty", empty, EMPTY)
    values = as_numpy(average_precision(scores, targets, known, kind))
    return mean_over_labels(values, one_sided(targets, known)[0] if empty == "zero" else ())


def mean_over_labels(values: np.ndarray, zeros: Sequence[int] | np.ndarray = ()) -> float:
    """Mean of per-label values, `[L]`; NaN marks a label that is left out, unless its column is among `zeros`."""
    values = values.copy()
    values[np.asarray(zeros, dtype=np.int64)] = 0.0
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")


def without_average_precision(targets: Array, known: Array | None = None) -> dict[int, str]:
    """Columns of the labels that have no average precision, each with what it lacks.

    Args:
        targets: `[N, L]`, 0 or 1 where known.
        known: `[N, L]` bool, or `None`.

    Raises:
        LabelwiseError: on shapes that differ, or soft targets.

    >>> without_average_precision(np.array([[1, 0, 1], [1, 0, 0]]))
    {0: 'no known negative', 1: 'no known positive'}
    """
    no_positive, no_negative = (set(columns) for columns in one_sided(targets, known))
    reasons = {}
    for column in sorted(no_positive | no_negative):
        missing = "positive" if column in no_positive else "negative"
        reasons[column] = "nothing known" if column in no_positive & no_negative else f"no known {missing}"
    return reasons


def precision_recall(
    scores: Array, targets: Array, known: Array | None = None, points: int = 200
) -> tuple[Array, Array, Array]:
    """The precision-recall curve of one label, reduced to few points without a visible change in a plot.

    The curve has a point at the score of every positive (between them recall is constant and precision
    only falls). Points are added where linear interpolation of the chosen ones has the largest error, until
    the error is below 0.0005 or `points` are used.

    Args:
        scores: `[N]` float.
        targets: `[N]`, 0 or 1 where known.
        known: `[N]` bool, or `None`.
        points: maximum number of points, at least 2.

    Returns:
        Precision, recall and threshold (positive iff score >= threshold), each `[M]` float64, `M <= points`,
        recall increasing; empty when the label lacks a known positive or a known negative.

    Raises:
        LabelwiseError: on inputs that are not one-dimensional, and as `average_precision`.
    """
    if len(scores.shape) != 1:
        raise LabelwiseError(
            f"scores of shape {tuple(scores.shape)}", "[images] of one label", "choose a column"
        )
    if points < 2:
        raise LabelwiseError(f"points={points}", "at least 2", "request more points")
    cells = Cells.read(scores[:, None], targets[:, None], None if known is None else known[:, None])
    values, positive, mask = cells.by_label(0, 1)
    known_row = None if mask is None else mask[0]
    hits, true_positives, predicted, images = _ranked(cells, values[0], positive[0], known_row)
    if len(hits) == images:
        hits, true_positives, predicted = hits[:0], true_positives[:0], predicted[:0]
    first = np.flatnonzero(np.diff(hits, prepend=-np.inf))[::-1]  # one point a distinct score, highest first
    precision, recall = true_positives[first] / predicted[first], true_positives[first] / max(len(hits), 1)
    indices = _thin(recall, precision, points)
    return cells.back(precision[indices]), cells.back(recall[indices]), cells.back(hits[first][indices])


def _block_values(cells: Cells, start: int, stop: int, kind: str) -> list[float]:
    """Average precision of the labels `start` to `stop`."""
    scores, positive, known = cells.by_label(start, stop)
    return [
        _ap_of_counts(*_ranked(cells, scores[i], positive[i], None if known is None else known[i])[1:], kind)
        for i in range(stop - start)
    ]


def _ranked(
    cells: Cells, scores: np.ndarray, positive: np.ndarray, known: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Ascending scores of the positives, the positives and images with at least each score, and all known images."""
    hits = scores[positive]
    if known is not None:
        scores = scores[known]
    hits.sort()
    scores.sort()
    if len(scores) and not (np.isfinite(scores[0]) and np.isfinite(scores[-1])):
        cells.check_scores()
    has_ties = np.any(hits[1:] == hits[:-1])
    true_positives = len(hits) - (np.searchsorted(hits, hits) if has_ties else np.arange(len(hits)))
    predicted = len(scores) - np.searchsorted(scores, hits)
    return hits, true_positives, predicted, len(scores)


def _ap_of_counts(true_positives: np.ndarray, predicted: np.ndarray, images: int, kind: str) -> float:
    """Average precision from the counts of `_ranked`, in order of falling recall; NaN for one-sided labels."""
    if len(true_positives) in (0, images):
        return float("nan")
    precision = true_positives / predicted
    if kind == "raw":
        return float(precision.mean())
    envelope = np.maximum.accumulate(precision)
    if kind == "envelope":
        return float(envelope.mean())
    # recall r is reached where 10 * true_positives >= 10 r * positives: integers, hence exact
    places = np.searchsorted(-10 * true_positives, -len(true_positives) * np.arange(11), side="right")
    return float(envelope[places - 1].mean())


def _thin(x: np.ndarray, y: np.ndarray, points: int) -> np.ndarray:
    """Indices of at most `points` points, ends included, chosen greedily by the largest vertical error."""
    if len(x) <= 2:
        return np.arange(len(x))
    indices = [0, len(x) - 1]
    heap = [_worst(x, y, 0, len(x) - 1)]
    while len(indices) < points and -heap[0][0] > 5e-4:
        _, index, low, high = heapq.heappop(heap)
        indices.append(index)
        heapq.heappush(heap, _worst(x, y, low, index))
        heapq.heappush(heap, _worst(x, y, index, high))
    return np.sort(np.array(indices))


def _worst(x: np.ndarray, y: np.ndarray, low: int, high: int) -> tuple[float, int, int, int]:
    """The negated largest error of the line from point `low` to point `high`, its index, and the two ends."""
    slope = (y[high] - y[low]) / (x[high] - x[low])
    error = np.abs(y[low : high + 1] - y[low] - slope * (x[low : high + 1] - x[low]))
    offset = int(error.argmax())
    return -float(error[offset]), low + offset, low, high
