"""What a data set and its splits hold of labels and of pairs of them, for notes to people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Int64

from labelwise.data.dataset import Dataset
from labelwise.data.fingerprints import ranges

SHOWN = 10
"""Labels that a note names."""
BLOCK = 65536
"""Rows looked at once, so that a copy of all cells is never made."""
MOST_PAIRED = 1024
"""Labels of which all pairs are counted: a count for each pair of 10,000 labels would be 400 MB."""
PAIRS = 10
"""Pairs of labels that are shown."""


def one_sided_notes(data: Dataset, splits: Sequence[str]) -> list[str]:
    """A sentence for each split that holds no known positive, or no known negative, of some labels, with their names.

    Such a label cannot be learned from the split, or has no average precision there. One that has none in any of the
    splits is named once.

    Args:
        data: rows with these splits.
        splits: names of the splits to look at.
    """
    held = np.zeros((2, len(splits), len(data.labels)), bool)
    codes = [data.split_names.index(name) for name in splits]
    of_row = np.asarray(data.split_of)
    for start in range(0, len(data), BLOCK):
        part = slice(start, start + BLOCK)
        positive = data.known[part] & (data.values[part] >= 0.5)
        for state, cells in enumerate((positive, data.known[part] & ~positive)):
            for place, code in enumerate(codes):
                held[state, place] |= cells[of_row[part] == code].any(0)
    notes = []
    for word, of_split in zip(("positive", "negative"), held, strict=True):
        nowhere = np.asarray(~of_split.any(0))
        notes += _note(word, "any split", data, nowhere)
        for name, there in zip(splits, of_split, strict=True):
            notes += _note(word, name, data, np.asarray(~there & ~nowhere))
    return notes


def _note(word: str, place: str, data: Dataset, lacking: np.ndarray) -> list[str]:
    names = [data.labels.names[j] for j in np.flatnonzero(lacking)]
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return [f"No known {word} in {place}: {', '.join(names[:SHOWN])}{more}."] if names else []


def blocks(data: Dataset) -> Iterator[slice]:
    """Parts of the rows, of a few million cells each, so that a copy of all cells is never made."""
    for block in ranges(len(data), max(256, (1 << 22) // max(len(data.labels), 1))):
        yield slice(block.start, block.stop)


def commonest_pairs(
    data: Dataset, positive: Int64[np.ndarray, " L"]
) -> tuple[list[tuple[str, str, int]], list[str]]:
    """The pairs of labels that most images have both of, and a sentence where not all labels were looked at.

    Args:
        data: the images.
        positive: positives of each label; only the `MOST_PAIRED` commonest labels are paired.

    Returns:
        names of two labels and the number of their images, the most first, and notes.
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
    found = [(names[i], names[j], number) for i, j, number in pairs if number]
    if len(some) == size:
        return found, []
    return found, [f"Pairs of labels were counted among the {len(some):,} commonest of {size:,} labels."]
