"""Calibration of probabilities: expected calibration error, Brier score and log loss per label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from labelwise.errors import LabelwiseError
from labelwise.metrics.arrays import Array, Cells, as_numpy, one_of
from labelwise.metrics.ranking import mean_over_labels
from labelwise.metrics.threshold import ratio

BINS = 15
BINNINGS = ("width", "count")
LOG_FLOOR = 1e-7


@dataclass(frozen=True)
class BinCounts:
    """Per label and bin, each `[L, M]` float64: cells, sum of probabilities, sum of targets."""

    cells: np.ndarray
    probability: np.ndarray
    positive: np.ndarray


def calibration_error(
    probabilities: Array, targets: Array, known: Array | None = None, bins: int = BINS, binning: str = "width"
) -> Array:
    """Expected calibration error of each label's probability itself, not of `max(p, 1 - p)`.

    `ECE_l = sum_b (n_b / N_l) |mean p - mean y|` over bins of known cells.

    Args:
        probabilities: `[N, L]` float in [0, 1].
        targets: `[N, L]`, 0 or 1 where known.
        known: `[N, L]` bool, or `None`.
        bins: number of bins, at least 1.
        binning: `"width"`: bins of equal width in [0, 1], the last one closed; `"count"`: bins of equal count
            (adaptive), equal probabilities in one bin.

    Returns:
        `[L]` float64 in [0, 1]; NaN for a label without a known cell. A tensor if the input was one.

    Raises:
        LabelwiseError: on probabilities outside [0, 1], soft targets, shapes that differ or wrong options.

    Source: Naeini et al. 2015, "Obtaining Well Calibrated Probabilities Using Bayesian Binning".

    >>> p, y = np.array([[0.9], [0.9], [0.1], [0.1]]), np.array([[1], [0], [0], [0]])
    >>> calibration_error(p, y).round(6).tolist()
    [0.25]
    """
    cells = _checked_cells(probabilities, targets, known, bins)
    one_of("binning", binning, BINNINGS)
    return cells.back(errors(_by_width(cells, bins) if binning == "width" else _by_count(cells, bins)))


def pooled_calibration_error(
    probabilities: Array, targets: Array, known: Array | None = None, bins: int = BINS, binning: str = "width"
) -> float:
    """`calibration_error` of all known cells as one label; same arguments."""
    cells = Cells.read(probabilities, targets, known)
    mask = None if cells.known is None else cells.known.reshape(-1, 1)
    flat = cells.scores.reshape(-1, 1), cells.targets.reshape(-1, 1)
    return float(calibration_error(*flat, mask, bins=bins, binning=binning)[0])


def brier_score(probabilities: Array, targets: Array, known: Array | None = None) -> Array:
    """Mean squared difference of probability and target, `mean (p - y)^2`: `[L]` float64, NaN if unknown.

    >>> brier_score(np.array([[0.9], [0.4]]), np.array([[1], [0]])).round(6).tolist()
    [0.085]
    """
    cells = _checked_cells(probabilities, targets, known, 1)
    return cells.back(_mean_known(cells, (cells.scores.astype(np.float64) - cells.positive()) ** 2))


def log_loss(probabilities: Array, targets: Array, known: Array | None = None) -> Array:
    """Mean negative log-likelihood, `-mean log p(y)`, per label in nats: `[L]` float64, NaN if unknown.

    Probabilities are clipped to [1e-7, 1 - 1e-7], since float32 sigmoids reach 0 and 1; a cell costs at most 16.1.
    """
    cells = _checked_cells(probabilities, targets, known, 1)
    p = np.clip(cells.scores.astype(np.float64), LOG_FLOOR, 1 - LOG_FLOOR)
    return cells.back(_mean_known(cells, -np.log(np.where(cells.positive(), p, 1 - p))))


def calibration_metrics(
    probabilities: Array, targets: Array, known: Array | None = None, bins: int = BINS
) -> dict[str, float]:
    """The calibration metrics of a report: means over labels, and the pooled error.

    Args:
        probabilities: `[N, L]` float in [0, 1].
        targets: `[N, L]`, 0 or 1 where known.
        known: `[N, L]` bool, or `None`.
        bins: number of bins.

    Returns:
        `ECE` (mean over labels), `ECE_worst5` (mean of the five largest), `ECE_pooled`, `ECE_adaptive`
        (equal-count bins, mean over labels), `Brier`, `NLL`.

    Raises:
        LabelwiseError: as `calibration_error`.
    """
    inputs = (probabilities, targets, known)
    per_label = as_numpy(calibration_error(*inputs, bins=bins))
    known_labels = per_label[~np.isnan(per_label)]
    return {
        "ECE": mean_over_labels(per_label),
        "ECE_worst5": mean_over_labels(np.sort(known_labels)[-5:]),
        "ECE_pooled": pooled_calibration_error(*inputs, bins=bins),
        "ECE_adaptive": mean_over_labels(as_numpy(calibration_error(*inputs, bins=bins, binning="count"))),
        "Brier": mean_over_labels(as_numpy(brier_score(*inputs))),
        "NLL": mean_over_labels(as_numpy(log_loss(*inputs))),
    }


def reliability(
    probabilities: Array, targets: Array, known: Array | None = None, bins: int = BINS
) -> BinCounts:
    """Cells, summed probability and summed target per label and equal-width bin, for a reliability plot."""
    return _by_width(_checked_cells(probabilities, targets, known, bins), bins)


def errors(counts: BinCounts) -> np.ndarray:
    """ECE of each label from its bins, `[L]`; NaN without a cell."""
    total = counts.cells.sum(axis=1)
    gap = np.abs(counts.probability - counts.positive).sum(axis=1)
    return np.where(total > 0, ratio(gap, total), np.nan)


def _checked_cells(probabilities: Array, targets: Array, known: Array | None, bins: int) -> Cells:
    """Cells with probabilities in [0, 1], for at least one bin."""
    if bins < 1:
        raise LabelwiseError(f"bins={bins}", "at least 1", "give a positive number of bins")
    cells = Cells.read(probabilities, targets, known)
    cells.check_probabilities()
    return cells


def _mean_known(cells: Cells, values: np.ndarray) -> np.ndarray:
    """Mean of each column over its known cells; NaN without any."""
    if cells.known is None:
        return values.mean(axis=0) if len(values) else np.full(values.shape[1], np.nan)
    count = cells.known.sum(axis=0)
    return np.where(count > 0, ratio(np.where(cells.known, values, 0.0).sum(axis=0), count), np.nan)


def _by_width(cells: Cells, bins: int) -> BinCounts:
    """Counts in bins of equal width."""
    labels = cells.scores.shape[1]
    mask = np.ones(cells.scores.shape, bool) if cells.known is None else cells.known
    p, y = cells.scores[mask].astype(np.float64), cells.positive()[mask]
    bin_index = np.nonzero(mask)[1] * bins + np.minimum((p * bins).astype(np.int64), bins - 1)
    sums = (np.bincount(bin_index, weights, minlength=labels * bins) for weights in (None, p, y))
    return BinCounts(*(part.reshape(labels, bins).astype(np.float64) for part in sums))


def _by_count(cells: Cells, bins: int) -> BinCounts:
    """Bins of equal count: the k-th edge lies after `k N / M` cells, moved past cells of equal probability."""
    scores, positive, known = cells.by_label(0, cells.scores.shape[1])
    sums = np.zeros((3, len(scores), bins))
    for label in range(len(scores)):
        rows = slice(None) if known is None else known[label]
        p, y = scores[label][rows].astype(np.float64), positive[label][rows]
        if not len(p):
            continue
        order = np.argsort(p, kind="stable")
        p, y = p[order], y[order]
        edges = np.arange(1, bins + 1) * len(p) // bins
        edges = np.where(edges > 0, np.searchsorted(p, p[edges - 1], side="right"), 0)
        for total, values in zip(sums, (np.ones(len(p)), p, y), strict=True):
            total[label] = np.diff(np.concatenate(([0.0], np.cumsum(values)))[edges], prepend=0.0)
    return BinCounts(*sums)
