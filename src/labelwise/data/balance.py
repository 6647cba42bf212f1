"""What splits hold of each label, for notes to people."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from labelwise.data.dataset import Dataset

SHOWN = 10
"""Labels that a note names."""
BLOCK = 65536
"""Rows looked at once, so that a copy of all cells is never made."""


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
