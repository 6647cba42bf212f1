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
BLOCK = 65536
"""Rows per block, which avoids a copy of all cells."""
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
    of_row = np.asarray(data.split_of)
    for start in range(0, len(data), BLOCK):
        part = slice(start, start + BLOCK)
        positive = data.known[part] & (data.values[part] >= 0.5)
        for row, cells in enumerate((positive, data.known[part] & ~positive)):
            for place, code in enumerate(codes):
                present[row, place] |= cells[of_row[part] == code].any(0)
    notes = []
    for state, of_split in zip(("positive", "negative"), present, strict=True):
        nowhere = np.asarray(~of_split.any(0))
        notes += _note(state, "any split", data, nowhere)
        for name, has in zip(splits, of_split, strict=True):
            notes += _note(state, name, data, np.asarray(~has & ~nowhere))
    return notes


def _note(state: str, place: str, data: Dataset, missing: np.ndarray) -> list[str]:
    names = [data.labels.names[j] for j in np.flatnonzero(missing)]
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return [f"No known {state} in {place}: {', '.join(names[:SHOWN])}{more}."] if names else []


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
    some = np.sort(np.argsort(-positive, kind="stable")[:MOST_PAIRED])
    columns = slice(None) if len(some) == size else some
    exact = np.dtype(np.float32 if len(data) < 1 << 24 else np.float64)
    count = np.zeros((len(some), len(some)), exact)
    for part in blocks(data):
        both = (data.known[part, columns] & (data.values[part, columns] >= 0.5)).astype(exact)
        count += both.T @ both
    count = np.triu(count, 1)
    best = np.argsort(-count, axis=None, kind="stable")[:PAIRS]
    names = [data.labels.names[j] for j in some.tolist()]
    pairs = [(*np.unravel_index(place, count.shape), int(count.flat[place])) for place in best]
    counted = [(names[i], names[j], number) for i, j, number in pairs if number]
    if len(some) == size:
        return counted, []
    return counted, [f"Pairs of labels were counted among the {len(some):,} commonest of {size:,} labels."]


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
    for part in blocks(data):
        known = data.known[part]
        positive = known & (data.values[part] >= 0.5)
        counts.positive += positive.sum(0)
        counts.known += known.sum(0)
        counts.without_positive += int((~positive.any(1)).sum())
        counts.without_known += int((~known.any(1)).sum())
        for code, name in enumerate(splits):
            counts.by_split[name] += positive[np.asarray(data.split_of)[part] == code].sum(0)
    return counts
