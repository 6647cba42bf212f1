"""Stratified folds in which the other folds hold positives of every label, as far as possible."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int16, Int64

from labelwise.data.dataset import Dataset
from labelwise.data.splits import stratified_split
from labelwise.errors import LabelwiseError


def fold_codes(
    rows: Dataset, folds: int, seed: int = 0, group: Int64[np.ndarray, " N"] | None = None
) -> Int16[np.ndarray, " N"]:
    """Fold of each row, from 0: stratified by label, groups whole.

    A label whose known positives all lie in one fold cannot be learned for that fold. While there is such a label, a
    group moves to another fold: the one that reduces the number of these labels most. So sizes may differ by a few
    groups. A label with positives in a single group remains.

    Args:
        rows: the `N` images with their labels.
        folds: at least 2.
        seed: of ties and order.
        group: `[N]`; rows of equal code stay together.

    Raises:
        LabelwiseError: fewer than 2 folds, or fewer rows (or groups) than folds.
    """
    units = len(rows) if group is None else len(np.unique(group))
    if not 2 <= folds <= units:
        raise LabelwiseError(
            f"{folds} folds of {units:,} images that may be apart",
            f"2 to {units:,}",
            "choose another --folds",
        )
    codes = stratified_split(rows.values, rows.known, [1 / folds] * folds, seed, group).astype(np.int64)
    unit = np.arange(len(rows)) if group is None else np.unique(group, return_inverse=True)[1].reshape(-1)
    first_rows = np.unique(unit, return_index=True)[1]
    shows = np.zeros((units, len(rows.labels)), bool)
    np.logical_or.at(shows, unit, rows.positive)
    return _codes_after_moves(codes[first_rows], shows, folds)[unit].astype(np.int16)


def _codes_after_moves(codes: np.ndarray, shows: np.ndarray, folds: int) -> np.ndarray:
    """Codes `[G]` of groups after moves; `shows` `[G, L]` tells which labels a group shows."""
    count = np.stack([shows[codes == fold].sum(0) for fold in range(folds)])
    total = count.sum(0)
    while True:
        confined = (count == total).any(0) & (total > 1)
        best = (0, -1, -1)
        for group in np.flatnonzero(shows[:, confined].any(1)).tolist():
            current = codes[group]
            if (codes == current).sum() == 1:
                continue
            current_count = count[current] - shows[group]
            for fold in range(folds):
                if fold == current:
                    continue
                new_count = count.copy()
                new_count[current], new_count[fold] = current_count, count[fold] + shows[group]
                gain = int(confined.sum() - ((new_count == total).any(0) & (total > 1)).sum())
                best = max(best, (gain, group, fold))
        gain, group, fold = best
        if gain <= 0:
            return codes
        count[codes[group]] -= shows[group]
        count[fold] += shows[group]
        codes[group] = fold
