"""Figures under draws of the images with replacement: what chance of images does to them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int32, Num

from labelwise.metrics.threshold import harmonic, ratio

DRAWS = 1000
_AT_ONCE = 125


def draw(images: int, number: int = DRAWS, seed: int = 0) -> Int32[np.ndarray, "N R"]:
    """How often each image comes in each of `number` draws of as many images with replacement.

    >>> draw(5, number=3).sum(0).tolist()
    [5, 5, 5]
    """
    rng = np.random.default_rng(seed)
    counts = np.empty((images, number), np.int32)
    for column in range(number):
        counts[:, column] = np.bincount(rng.integers(0, images, images), minlength=images)
    return counts


def drawn_average_precision(
    scores: Float[np.ndarray, " N"], positive: Bool[np.ndarray, " N"], counts: Int32[np.ndarray, "N R"]
) -> Float[np.ndarray, " R"]:
    """Raw average precision of one label under each draw, exactly that of the images repeated as often as drawn.

    Images are sorted once. With `n_i` how often image `i` was drawn, `T_i` and `C_i` the sums of `n` over positives and
    over all images that score as high as `i` or higher:

        AP = sum_{i positive} n_i T_i / C_i / sum_{i positive} n_i

    Args:
        scores: higher is surer.
        positive: which images have the label.
        counts: how often each image comes in each draw.

    Returns:
        NaN for a draw without a positive or without a negative.

    >>> ranked = np.array([0.9, 0.8, 0.7]), np.array([True, False, True])
    >>> drawn_average_precision(*ranked, np.array([[1, 1], [1, 2], [1, 1]], np.int32)).round(4).tolist()
    [0.8333, 0.75]
    """
    if not positive.any() or positive.all():
        return np.full(counts.shape[1], np.nan)
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.flatnonzero(positive[order])
    # Where the scores as high as each positive's end; positives of one score share the end.
    ends = np.searchsorted(-ranked, -ranked[hits], side="right")
    ends, first = np.unique(ends, return_index=True)
    starts = np.concatenate(([0], ends[:-1]))
    found = np.empty(counts.shape[1])
    for at in range(0, counts.shape[1], _AT_ONCE):
        part = counts[order[: ends[-1]], at : at + _AT_ONCE]
        true = np.add.reduceat(part[hits], first, axis=0)
        called = np.add.reduceat(part, starts, axis=0).cumsum(0)
        with np.errstate(invalid="ignore"):
            precision = np.where(true > 0, true.cumsum(0) / called, 0.0)
            found[at : at + _AT_ONCE] = (true * precision).sum(0) / true.sum(0)
    found[counts[~positive].sum(0) == 0] = np.nan
    return found


def drawn_map(
    scores: Float[np.ndarray, "N L"],
    targets: Num[np.ndarray, "N L"],
    known: Bool[np.ndarray, "N L"],
    counts: Int32[np.ndarray, "N R"],
) -> Float[np.ndarray, " R"]:
    """mAP under each draw, unknown cells left out, and labels without a drawn positive or negative skipped.

    Args:
        scores: higher is surer.
        targets: positive from one half on, where known.
        known: which cells count.
        counts: how often each image comes in each draw.
    """
    labels = []
    for j in range(scores.shape[1]):
        seen = known[:, j]
        part = counts if seen.all() else counts[seen]
        labels.append(
            drawn_average_precision(scores[seen, j].astype(np.float64), targets[seen, j] >= 0.5, part)
        )
    per_label = np.array(labels)
    there = ~np.isnan(per_label)
    with np.errstate(invalid="ignore"):
        return np.where(there, per_label, 0.0).sum(0) / there.sum(0)


def drawn_macro_f1(
    selected: Bool[np.ndarray, "N L"],
    targets: Num[np.ndarray, "N L"],
    known: Bool[np.ndarray, "N L"],
    counts: Int32[np.ndarray, "N R"],
) -> Float[np.ndarray, " R"]:
    """Mean of the labels' F1 under each draw; labels without a drawn positive or negative are skipped.

    Args:
        selected: which labels were decided for.
        targets: positive from one half on, where known.
        known: which cells count.
        counts: how often each image comes in each draw.
    """
    positive, called = known & (targets >= 0.5), known & selected
    drawn = counts.T.astype(np.float32)  # exact: sums stay far below 2^24
    cells = positive & called, called, positive, known & ~positive
    hits, predicted, positives, negatives = (drawn @ m.astype(np.float32) for m in cells)
    f1 = harmonic(ratio(hits, predicted), ratio(hits, positives))
    there = (positives > 0) & (negatives > 0)
    with np.errstate(invalid="ignore"):
        return np.where(there, f1, 0.0).sum(1) / there.sum(1)


def interval(drawn: Float[np.ndarray, " R"]) -> dict[str, float]:
    """`low` and `high` of the middle 95 % of drawn values; NaN where none is defined.

    >>> interval(np.arange(101.0))
    {'low': 2.5, 'high': 97.5}
    """
    drawn = drawn[~np.isnan(drawn)]
    low, high = np.quantile(drawn, (0.025, 0.975)) if len(drawn) else (np.nan, np.nan)
    return {"low": float(low), "high": float(high)}
