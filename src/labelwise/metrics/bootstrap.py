"""Bootstrap of metrics over the images, or over groups of them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int32, Int64, Num

from labelwise.metrics.threshold import harmonic, ratio

RESAMPLES = 1000
_RESAMPLES_AT_ONCE = 125


def bootstrap_counts(
    images: int, number: int = RESAMPLES, seed: int = 0, group: Int64[np.ndarray, " N"] | None = None
) -> Int32[np.ndarray, "N R"]:
    """How often each of N images occurs in each of `number` samples with replacement.

    Images are sampled, or whole groups of them: images of one person or scene resemble each other, so that sampling
    them one by one would give intervals that are too narrow.

    Args:
        images: N.
        number: R, of samples.
        seed: of the samples.
        group: the group of each image; as many groups as there are are sampled. `None`: each image is its own.

    >>> bootstrap_counts(5, number=3).sum(0).tolist()
    [5, 5, 5]
    >>> bootstrap_counts(3, number=4, group=np.array([7, 7, 2]))[:2].tolist()
    [[2, 1, 0, 0], [2, 1, 0, 0]]
    """
    codes = np.arange(images) if group is None else np.unique(group, return_inverse=True)[1]
    units = images if group is None else int(codes.max(initial=-1)) + 1
    rng = np.random.default_rng(seed)
    counts = np.empty((images, number), np.int32)
    for column in range(number):
        counts[:, column] = np.bincount(rng.integers(0, units, units), minlength=units)[codes]
    return counts


def bootstrap_average_precision(
    scores: Float[np.ndarray, " N"], positive: Bool[np.ndarray, " N"], counts: Int32[np.ndarray, "N R"]
) -> Float[np.ndarray, " R"]:
    """Raw average precision of one label in each resample, exactly that of the images repeated by their counts.

    Images are sorted once. With `n_i` the count of image `i`, `T_i` and `C_i` the sums of `n` over positives and
    over all images that score as high as `i` or higher:

        AP = sum_{i positive} n_i T_i / C_i / sum_{i positive} n_i

    Args:
        scores: higher is more confident.
        positive: which images have the label.
        counts: how often each image occurs in each resample.

    Returns:
        NaN for a resample without a positive or without a negative.

    >>> ranked = np.array([0.9, 0.8, 0.7]), np.array([True, False, True])
    >>> bootstrap_average_precision(*ranked, np.array([[1, 1], [1, 2], [1, 1]], np.int32)).round(4).tolist()
    [0.8333, 0.75]
    """
    if not positive.any() or positive.all():
        return np.full(counts.shape[1], np.nan)
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.flatnonzero(positive[order])
    # The end of the scores at least as high as each positive's; positives with equal scores share it.
    ends = np.searchsorted(-ranked, -ranked[hits], side="right")
    ends, first = np.unique(ends, return_index=True)
    starts = np.concatenate(([0], ends[:-1]))
    values = np.empty(counts.shape[1])
    for start in range(0, counts.shape[1], _RESAMPLES_AT_ONCE):
        block = counts[order[: ends[-1]], start : start + _RESAMPLES_AT_ONCE]
        true_counts = np.add.reduceat(block[hits], first, axis=0)
        predicted = np.add.reduceat(block, starts, axis=0).cumsum(0)
        with np.errstate(invalid="ignore"):
            precision = np.where(true_counts > 0, true_counts.cumsum(0) / predicted, 0.0)
            values[start : start + _RESAMPLES_AT_ONCE] = (true_counts * precision).sum(0) / true_counts.sum(0)
    values[counts[~positive].sum(0) == 0] = np.nan
    return values


def bootstrap_map(
    scores: Float[np.ndarray, "N L"],
    targets: Num[np.ndarray, "N L"],
    known: Bool[np.ndarray, "N L"],
    counts: Int32[np.ndarray, "N R"],
) -> Float[np.ndarray, " R"]:
    """mAP of each resample without unknown cells; skips labels without a resampled positive or negative.

    Args:
        scores: higher is more confident.
        targets: positive from 0.5, where known.
        known: which cells count.
        counts: how often each image occurs in each resample.
    """
    labels = []
    for j in range(scores.shape[1]):
        rows = known[:, j]
        known_counts = counts if rows.all() else counts[rows]
        label_scores, positive = scores[rows, j].astype(np.float64), targets[rows, j] >= 0.5
        labels.append(bootstrap_average_precision(label_scores, positive, known_counts))
    per_label = np.array(labels)
    defined = ~np.isnan(per_label)
    with np.errstate(invalid="ignore"):
        return np.where(defined, per_label, 0.0).sum(0) / defined.sum(0)


def bootstrap_macro_f1(
    selected: Bool[np.ndarray, "N L"],
    targets: Num[np.ndarray, "N L"],
    known: Bool[np.ndarray, "N L"],
    counts: Int32[np.ndarray, "N R"],
) -> Float[np.ndarray, " R"]:
    """Mean of the labels' F1 in each resample; skips labels without a resampled positive or negative.

    Args:
        selected: the selected labels.
        targets: positive from 0.5, where known.
        known: which cells count.
        counts: how often each image occurs in each resample.
    """
    positive, chosen = known & (targets >= 0.5), known & selected
    weights = counts.T.astype(np.float32)  # exact: sums stay far below 2^24
    cells = positive & chosen, chosen, positive, known & ~positive
    hits, predicted, positives, negatives = (weights @ mask.astype(np.float32) for mask in cells)
    f1 = harmonic(ratio(hits, predicted), ratio(hits, positives))
    defined = (positives > 0) & (negatives > 0)
    with np.errstate(invalid="ignore"):
        return np.where(defined, f1, 0.0).sum(1) / defined.sum(1)


def bootstrap_attributes(
    selected: Bool[np.ndarray, "N L"],
    targets: Num[np.ndarray, "N L"],
    known: Bool[np.ndarray, "N L"],
    counts: Int32[np.ndarray, "N R"],
) -> dict[str, Float[np.ndarray, " R"]]:
    """The metrics of `attribute_metrics` in each resample: mean accuracy over labels, and scores over images.

    Mean accuracy skips labels without a resampled positive or negative. `F1` is of the means, `F1_instance` the mean of
    the images' F1. An image without a known cell is left out.

    Args:
        selected: the selected labels.
        targets: positive from 0.5, where known.
        known: which cells count.
        counts: how often each image occurs in each resample.

    >>> y, q = np.array([[1, 0], [1, 1], [0, 1]]), np.array([[True, True], [True, False], [False, True]])
    >>> once = bootstrap_attributes(q, y, np.ones_like(q), np.ones((3, 1), np.int32))
    >>> {name: round(float(value[0]), 4) for name, value in once.items()}
    {'mA': 0.625, 'accuracy': 0.6667, 'precision': 0.8333, 'recall': 0.8333, 'F1': 0.8333, 'F1_instance': 0.7778}
    """
    weights = counts.T.astype(np.float64)
    positive, chosen = known & (targets >= 0.5), known & selected
    negative, hit = known & ~positive, positive & chosen
    hits, true_negatives, positives, negatives = (
        weights @ cells.astype(np.float64) for cells in (hit, negative & ~chosen, positive, negative)
    )
    defined = (positives > 0) & (negatives > 0)
    rates = (ratio(hits, positives) + ratio(true_negatives, negatives)) / 2
    image_hits, image_selected, image_positives = (cells.sum(1) for cells in (hit, chosen, positive))
    precision, recall = ratio(image_hits, image_selected), ratio(image_hits, image_positives)
    image_values = {
        "accuracy": ratio(image_hits, image_selected + image_positives - image_hits),
        "precision": precision,
        "recall": recall,
        "F1_instance": harmonic(precision, recall),
    }
    with np.errstate(invalid="ignore"):
        images = weights @ known.any(1).astype(np.float64)
        means = {name: weights @ values / images for name, values in image_values.items()}
        mean_accuracy = np.where(defined, rates, 0.0).sum(1) / defined.sum(1)
    f1_instance = means.pop("F1_instance")
    return {
        "mA": mean_accuracy,
        **means,
        "F1": harmonic(means["precision"], means["recall"]),
        "F1_instance": f1_instance,
    }


def interval(values: Float[np.ndarray, " R"]) -> dict[str, float]:
    """`low` and `high` of the middle 95 % of the resampled values; NaN if none is defined.

    >>> interval(np.arange(101.0))
    {'low': 2.5, 'high': 97.5}
    """
    values = values[~np.isnan(values)]
    low, high = np.quantile(values, (0.025, 0.975)) if len(values) else (np.nan, np.nan)
    return {"low": float(low), "high": float(high)}
