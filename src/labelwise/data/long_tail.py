"""Long-tailed subset of a split: few images of rare labels, by a published rule."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Bool, Int64, Shaped

from labelwise.data.dataset import Dataset
from labelwise.errors import LabelwiseError

Rule = Literal["exponential", "pareto"]
POWER = 6.0
REACH = 0.99


def long_tail_sizes(labels: int, rule: Rule, most: int, least: int) -> Int64[np.ndarray, " L"]:
    """Number of images of each label by its rank, the most frequent first.

    `exponential`: `most (least / most)^(r / (L - 1))`, rounded; `pareto`: `least + (most - least) x_r^-7`, rounded
    down, with `x_r` even from 1 to the .99 quantile of the Pareto distribution of power 6.

    Args:
        labels: L.
        rule: `exponential` or `pareto`.
        most: images of the most frequent label, at least `least`.
        least: images of the rarest label, at least 1.

    Raises:
        LabelwiseError: numbers outside these ranges.

    Source: exponential: Cui et al., "Class-Balanced Loss Based on Effective Number of Samples" (2019); pareto: the rule
    of VOC-MLT and COCO-MLT in Wu et al., "Distribution-Balanced Loss ..." (2020).

    >>> long_tail_sizes(3, "exponential", 100, 1).tolist(), long_tail_sizes(3, "pareto", 100, 1).tolist()
    ([100, 10, 1], [100, 5, 1])
    """
    if not 1 <= least <= most:
        raise LabelwiseError(
            f"a long tail of {most:,} to {least:,} images",
            "at least 1 image of the rarest label, and not more than of the commonest",
            "correct data.long_tail_most or data.long_tail_least",
        )
    rank = np.arange(labels) / max(1, labels - 1)
    if rule == "exponential":
        return np.rint(most * (least / most) ** rank).astype(np.int64)
    quantiles = 1 + rank * ((1 - REACH) ** (-1 / POWER) - 1)
    # 1e-9 keeps a whole number whole that rounding left a little smaller.
    return np.floor(least + (most - least) * quantiles ** -(POWER + 1) + 1e-9).astype(np.int64)


def sample_long_tail(
    positive: Bool[np.ndarray, "N L"], rule: Rule, most: int = 0, least: int = 4, seed: int = 0
) -> Shaped[np.ndarray, " M"]:
    """Row numbers of a long-tailed subset, in ascending order.

    Labels are ranked by their number of images. From the rarest on, images of a label are added in random order while
    none of their labels exceeds the size of its rank. No label has more images; where labels co-occur, frequent ones
    may have fewer. Rows without a positive are excluded.

    Args:
        positive: `[N, L]`, cells that are known to be present.
        rule: see `long_tail_sizes`.
        most: images of the most frequent label; 0 for all of them.
        least: images of the rarest label.
        seed: of the random order.

    Raises:
        LabelwiseError: see `long_tail_sizes`; or more images of the commonest label than there are.

    Source: see `long_tail_sizes`.
    Differs: the published sets rank by co-occurrence and process labels from the most frequent on, adding and
        dropping images, which leaves some labels above their size.
    """
    counts = positive.sum(0)
    largest = int(counts.max(initial=0))
    if most > largest:
        raise LabelwiseError(
            f"data.long_tail_most={most:,}",
            f"at most the {largest:,} images of the commonest label",
            "lower it",
        )
    sizes = long_tail_sizes(positive.shape[1], rule, most or largest, least)
    ranked = np.argsort(-counts, kind="stable")
    remaining = np.zeros(positive.shape[1], np.int64)
    remaining[ranked] = sizes
    order = np.random.default_rng(seed).permutation(len(positive))
    selected = np.zeros(len(positive), bool)
    for label in ranked[::-1]:
        for row in order[positive[order, label] & ~selected[order]]:
            if remaining[label] == 0:
                break
            if (remaining[positive[row]] > 0).all():
                selected[row] = True
                remaining[positive[row]] -= 1
    return np.flatnonzero(selected)


def long_tailed(
    data: Dataset, split: str, rule: Rule, most: int = 0, least: int = 4, seed: int = 0
) -> Dataset:
    """The data set with a long-tailed subset of a split; its other rows are in no split. See `sample_long_tail`.

    Raises:
        LabelwiseError: no such split, or sizes that do not fit.
    """
    rows = data.rows_of(split)
    positive = data.take(rows).positive
    chosen = rows[sample_long_tail(positive, rule, most, least, seed)]
    codes = np.array(data.split_of, np.int16)
    codes[np.setdiff1d(rows, chosen)] = -1
    counts = data.take(chosen).positive.sum(0)
    note = (
        f"{len(chosen):,} of the {len(rows):,} {split} images are a long tail ({rule}, seed {seed}): "
        f"{counts.max():,} images of the commonest label, {counts.min():,} of the rarest."
    )
    return data.with_split(codes, data.split_names).with_notes(note)
