"""What a file cannot tell of itself: labels that no figure can judge."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from labelwise.data.dataset import Dataset
from labelwise.data.readers.name_doubts import few

BLOCK = 65536  # rows


def doubts_of(data: Dataset) -> list[str]:
    """A sentence on each thing that a check cannot decide from the data alone."""
    positive, negative = known_counts(data, np.arange(len(data)))
    names = data.labels.names
    sentences = []
    if not negative.any():
        sentences.append(
            "No label has a known negative: nothing can be judged on these data, and every figure would flatter."
        )
    else:
        sentences += _listed(
            names, (negative == 0) & (positive > 0), "has no known negative and no average precision"
        )
    sentences += _listed(
        names, (positive == 0) & (negative > 0), "has no known positive and no average precision"
    )
    sentences += _listed(names, (positive == 0) & (negative == 0), "is unknown on every image")
    sentences += _listed(names, positive == len(data), "is present on every image")
    for split in data.splits():
        if split == "train" or not data.splits()[split]:
            continue
        here, absent = known_counts(data, data.rows_of(split))
        blind = ((here == 0) | (absent == 0)) & (positive > 0) & (negative > 0)
        sentences += _listed(
            names, blind, f"cannot be judged in {split}, which lacks a positive or a negative of it"
        )
    return sentences


def known_counts(data: Dataset, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`[L]` numbers of known positives and of known negatives of each label among some rows."""
    positive, negative = np.zeros((2, len(data.labels)), np.int64)
    for start in range(0, len(rows), BLOCK):  # blocks, so that a copy of all cells is never made
        part = rows[start : start + BLOCK]
        known = data.known[part]
        up = known & (data.values[part] >= 0.5)
        positive += up.sum(0)
        negative += (known & ~up).sum(0)
    return positive, negative


def _listed(names: Sequence[str], chosen: np.ndarray, what: str) -> list[str]:
    places = np.flatnonzero(chosen)
    if not len(places):
        return []
    if len(places) == 1:
        return [f"The label {names[places[0]]} {what}."]
    shown = few([names[j] for j in places.tolist()], 8)
    return [f"Of {len(places):,} labels each {what}: {shown}."]
