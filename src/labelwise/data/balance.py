"""Counts of labels and of pairs of labels in a data set and its splits, for notes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from labelwise.data.dataset import Dataset
from labelwise.data.fingerprints import ranges

SHOWN = 10
"""Number of labels that a note names."""

MOST_PAIRED = 1024
"""Maximum number of labels to count pairs of: counts of the pairs of 10,000 labels would need 400 MB."""
PAIRS = 10
"""Number of pairs of labels in the result."""


def one_sided_notes(data: Dataset, splits: Sequence[str]) -> list[str]:
    """A sentence on each split that lacks a known positive, or a known negative, of some labels, with their names.

    Such a label cannot be learned from the split, or has no average precision in it. A label without any in all of
    the splits is named once.

    Args:
        data: rows with these splits.
        splits: names of the splits to count.
    """
    present = np.zeros((2, len(splits), len(data.labels)), bool)
    codes = [data.split_names.index(name) for name in splits]
    row_codes = np.asarray(data.split_of)
    for block in blocks(data):
        positive = data.known[block] & (data.values[block] >= 0.5)
        for state_index, cells in enumerate((positive, data.known[block] & ~positive)):
            for split_index, code in enumerate(codes):
                present[state_index, split_index] |= cells[row_codes[block] == code].any(0)
    notes = []
    for state, by_split in zip(("positive", "negative"), present, strict=True):
        in_no_split = np.asarray(~by_split.any(0))
        notes += _note(state, "any split", data, in_no_split)
        for name, in_split in zip(splits, by_split, strict=True):
            notes += _note(state, name, data, np.asarray(~in_split & ~in_no_split))
    return notes


def _note(state: str, where: str, data: Dataset, missing: np.ndarray) -> list[str]:
    """A sentence that names labels without known cells of a state in a split; none without such a label."""
    names = [data.labels.names[j] for j in np.flatnonzero(missing)]
    others = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return [f"No known {state} in {where}: {', '.join(names[:SHOWN])}{others}."] if names else []


def blocks(data: Dataset) -> Iterator[slice]:
    """Slices of the rows with a few million cells each, which avoids a copy of all cells."""
    for block in ranges(len(data), max(256, (1 << 22) // max(len(data.labels), 1))):
        yield slice(block.start, block.stop)


def commonest_pairs(
    data: Dataset, positive: Int64[np.ndarray, " L"]
) -> tuple[list[tuple[str, str, int]], list[str]]:
    """The pairs of labels that occur together in most images, and a note where not all labels were counted.

    Args:
        data: the images.
        positive: positives of each label; pairs of the `MOST_PAIRED` most frequent labels are counted.

    Returns:
        names of two labels and the number of their images, in descending order, and notes.
    """
    size = len(data.labels)
    frequent = np.sort(np.argsort(-positive, kind="stable")[:MOST_PAIRED])
    columns = slice(None) if len(frequent) == size else frequent
    dtype = np.dtype(np.float32 if len(data) < 1 << 24 else np.float64)
    counts = np.zeros((len(frequent), len(frequent)), dtype)
    for block in blocks(data):
        positives = (data.known[block, columns] & (data.values[block, columns] >= 0.5)).astype(dtype)
        counts += positives.T @ positives
    counts = np.triu(counts, 1)
    largest = np.argsort(-counts, axis=None, kind="stable")[:PAIRS]
    names = [data.labels.names[j] for j in frequent.tolist()]
    pairs = [(*np.unravel_index(position, counts.shape), int(counts.flat[position])) for position in largest]
    listed = [(names[i], names[j], number) for i, j, number in pairs if number]
    if len(frequent) == size:
        return listed, []
    return listed, [f"Pairs of labels were counted among the {len(frequent):,} commonest of {size:,} labels."]


@dataclass
class LabelCounts:
    """Numbers of known positives and known cells of each label, and of rows without any.

    Args:
        positive: `[L]`.
        known: `[L]`.
        by_split: `[L]` known positives in each split.
        without_positive: rows without a known positive.
        without_known: rows without a known cell.
    """

    positive: np.ndarray
    known: np.ndarray
    by_split: dict[str, np.ndarray]
    without_positive: int = 0
    without_known: int = 0


def counted_cells(data: Dataset) -> LabelCounts:
    """Counts of the cells, block by block: a copy of a million rows with 80 labels would be 320 MB."""
    size, splits = len(data.labels), data.splits()
    counts = LabelCounts(
        np.zeros(size, np.int64),
        np.zeros(size, np.int64),
        {name: np.zeros(size, np.int64) for name in splits},
    )
    for block in blocks(data):
        known = data.known[block]
        positive = known & (data.values[block] >= 0.5)
        counts.positive += positive.sum(0)
        counts.known += known.sum(0)
        counts.without_positive += int((~positive.any(1)).sum())
        counts.without_known += int((~known.any(1)).sum())
        for code, name in enumerate(splits):
            counts.by_split[name] += positive[np.asarray(data.split_of)[block] == code].sum(0)
    return counts
