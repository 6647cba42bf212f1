"""Pedestrian-attribute metrics: mean accuracy over labels and scores over images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from labelwise.metrics.arrays import Array, Cells, one_of
from labelwise.metrics.threshold import Counts, column_sums, harmonic, per_label, ratio

F1_KINDS = ("of-means", "mean-instance")


@dataclass(frozen=True)
class AttributeCounts:
    """The counts of `attribute_metrics` for a part of the images; counts of parts can be added.

    Args:
        labels: counts per label.
        images: `[5]` float64: sums over images of accuracy, precision, recall, F1, and the number of images.
    """

    labels: Counts
    images: np.ndarray


def attribute_metrics(
    scores: Array,
    targets: Array,
    known: Array | None = None,
    threshold: float | Sequence[float] | Array = 0.5,
    f1: str = "of-means",
) -> dict[str, float]:
    """Mean accuracy and instance-based metrics of the labels predicted where `score > threshold`.

    `mA = mean_l (TPR_l + TNR_l) / 2`. Over images, with `y` the true and `q` the predicted labels of one:
    accuracy `mean |y & q| / |y or q|`, precision `mean |y & q| / |q|`, recall `mean |y & q| / |y|`.
    Empty denominators count 0, as published, so a label without positives or negatives lowers mA: see `one_sided`.
    The metrics over images are as published too: if only positives are known, no prediction counts as wrong.

    Args:
        scores: `[N, L]` probabilities (or any float with a matching threshold).
        targets: `[N, L]`, 0 or 1 where known.
        known: `[N, L]` bool; an image without a known cell is left out.
        threshold: one number or one per label, compared strictly.
        f1: `"of-means"`: harmonic mean of precision and recall; `"mean-instance"`: mean of each image's F1.

    Returns:
        `mA, accuracy, precision, recall, F1` as fractions; NaN where there is nothing to average.

    Raises:
        LabelwiseError: on shapes that differ, soft targets, NaN or infinite scores, or an unknown `f1`.

    Source: Jia et al., "Rethinking of Pedestrian Attribute Recognition" (of-means, .5); OpenPAR family
    (mean-instance, .45).

    >>> y, q = np.array([[1, 0], [1, 1]]), np.array([[1.0, 1.0], [1.0, 0.0]])
    >>> [round(attribute_metrics(q, y, f1=kind)["F1"], 6) for kind in F1_KINDS]
    [0.75, 0.666667]
    """
    one_of("f1", f1, F1_KINDS)
    return summarise_attributes(count_attributes(scores, targets, known, threshold), f1)


def one_sided(targets: Array, known: Array | None = None) -> tuple[list[int], list[int]]:
    """Columns without a known positive (TPR counts 0 in mA), and without a known negative (TNR counts 0).

    >>> one_sided(np.array([[1, 0, 1], [1, 0, 0]]))
    ([1], [0])
    """
    cells = Cells.read(np.zeros(tuple(targets.shape), np.float32), targets, known)
    positives = column_sums(cells.positive())
    counts = np.full(len(positives), len(cells.scores)) if cells.known is None else column_sums(cells.known)
    return np.flatnonzero(positives == 0).tolist(), np.flatnonzero(positives == counts).tolist()


def count_attributes(
    scores: Array,
    targets: Array,
    known: Array | None = None,
    threshold: float | Sequence[float] | Array = 0.5,
) -> AttributeCounts:
    """The counts of `attribute_metrics`; same arguments."""
    cells = Cells.read(scores, targets, known)
    cells.check_scores()
    mask = np.ones(cells.scores.shape, bool) if cells.known is None else cells.known
    predicted = (cells.scores > per_label(threshold, cells.scores.shape[1])) & mask
    positive = cells.positive()
    hit = predicted & positive
    hits, predictions, positives = (np.count_nonzero(cell, axis=1) for cell in (hit, predicted, positive))
    precision, recall = ratio(hits, predictions), ratio(hits, positives)
    accuracy = ratio(hits, predictions + positives - hits)
    images = [
        accuracy.sum(),
        precision.sum(),
        recall.sum(),
        harmonic(precision, recall).sum(),
        mask.any(1).sum(),
    ]
    labels = Counts(*(column_sums(cell) for cell in (hit, predicted, positive, mask)))
    return AttributeCounts(labels, np.array(images, dtype=np.float64))


def summarise_attributes(counts: AttributeCounts, f1: str = "of-means") -> dict[str, float]:
    """The metrics of `attribute_metrics` from counts."""
    labels, images = counts.labels, counts.images[4]
    negatives = labels.known - labels.positives
    false_positives = labels.predicted - labels.hits
    rates = (ratio(labels.hits, labels.positives) + ratio(negatives - false_positives, negatives)) / 2
    has_known = labels.known > 0
    accuracy, precision, recall, mean_f1 = counts.images[:4] / images if images else np.full(4, np.nan)
    return {
        "mA": float(rates[has_known].mean()) if has_known.any() else float("nan"),
        "accuracy": float(accuracy),
        "precision": float(precision),
        "recall": float(recall),
        "F1": float(harmonic(precision, recall) if f1 == "of-means" else mean_f1),
    }
