"""Questions that a file alone cannot answer: labels without a defined metric."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from labelwise.data.dataset import Dataset
from labelwise.data.readers.name_doubts import few

BLOCK = 65536  # rows


def doubts_of(data: Dataset) -> list[str]:
    """A sentence on each question that a check cannot answer from the data alone."""
    positive, negative = known_counts(data, np.arange(len(data)))
    names = data.labels.names
    sentences = []
    if not negative.any():
        sentences.append(
            "No label has a known negative: metrics on these data would be meaningless and too high."
        )
    else:
        sentences += _sentence_on(
            names, (negative == 0) & (positive > 0), "has no known negative and no average precision"
        )
    sentences += _sentence_on(
        names, (positive == 0) & (negative > 0), "has no known positive and no average precision"
    )
    sentences += _sentence_on(names, (positive == 0) & (negative == 0), "is unknown on every image")
    sentences += _sentence_on(names, positive == len(data), "is present on every image")
    for split in data.splits():
        if split == "train" or not data.splits()[split]:
            continue
        present, absent = known_counts(data, data.rows_of(split))
        undefined = ((present == 0) | (absent == 0)) & (positive > 0) & (negative > 0)
        sentences += _sentence_on(
            names, undefined, f"cannot be evaluated in {split}, which lacks a positive or a negative of it"
        )
    return sentences


def known_counts(data: Dataset, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`[L]` numbers of known positives and of known negatives of each label among the given rows."""
    positive, negative = np.zeros((2, len(data.labels)), np.int64)
    for start in range(0, len(rows), BLOCK):  # blocks avoid a copy of all cells
        block = rows[start : start + BLOCK]
        known = data.known[block]
        present = known & (data.values[block] >= 0.5)
        positive += present.sum(0)
        negative += (known & ~present).sum(0)
    return positive, negative


def _sentence_on(names: Sequence[str], selected: np.ndarray, statement: str) -> list[str]:
    """A sentence that says a statement of the selected labels, with their names; none without any."""
    columns = np.flatnonzero(selected)
    if not len(columns):
        return []
    if len(columns) == 1:
        return [f"The label {names[columns[0]]} {statement}."]
    listed = few([names[j] for j in columns.tolist()], 8)
    return [f"Of {len(columns):,} labels each {statement}: {listed}."]
