"""Metrics of continual learning: forgetting, and groups of labels by frequency."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from labelwise.errors import LabelwiseError

GROUPS = ("major", "moderate", "minor")


def forgetting(history: Float[np.ndarray, "T U"]) -> Float[np.ndarray, " K"]:
    """Forgetting of each task: `(M_j - e_j) / |M_j|`, `M_j = max_{j <= t < T} a_tj`, `e_j = a_Tj`.

    For `M_j = 0` it is 1 if `e_j = 0`, and `-e_j` otherwise; NaN for a task without evaluation. Negative values are
    gains.

    Args:
        history: `[T, T]`, `a_tj` after task t on task j; NaN where it was not evaluated.

    Returns:
        `[T - 1]`, of all tasks but the last.

    Raises:
        LabelwiseError: not square.

    Source: the released code of Kim et al. 2020 (PRS).

    >>> forgetting(np.array([[0.6, np.nan, np.nan], [0.5, 0.8, np.nan], [0.4, 0.8, 0.7]])).round(6).tolist()
    [0.333333, 0.0]
    """
    if history.ndim != 2 or history.shape[0] != history.shape[1]:
        raise LabelwiseError(f"a history of shape {history.shape}", "[tasks, tasks]", "test after each task")
    last = len(history) - 1
    best = np.array(
        [np.where(np.isnan(row), -np.inf, row)[j:].max() for j, row in enumerate(history[:last, :last].T)]
    )
    best[np.isinf(best)] = np.nan
    final = history[last, :last]
    drop = np.divide(best - final, np.abs(best), out=np.zeros(last), where=best != 0)
    return np.where(best != 0, drop, np.where(final == 0, 1.0, -final))


def frequency_groups(
    counts: Int[np.ndarray, " L"], limits: Sequence[int] | None = None
) -> tuple[dict[str, list[int]], tuple[int, int]]:
    """Columns of frequent, moderately frequent and rare labels.

    Args:
        counts: `[L]`, images of the training stream that have the label.
        limits: `(low, high)`: minor is under `low`, major from `high`; by default each group has a third of the
            labels, split by ascending frequency.

    Returns:
        columns by group, and the limits used.

    >>> frequency_groups(np.array([5, 900, 40]))
    ({'major': [1], 'moderate': [2], 'minor': [0]}, (40, 900))
    """
    if limits is None:
        ranked = np.sort(counts)
        third = len(counts) / 3
        limits = (
            int(ranked[min(round(third), len(counts) - 1)]),
            int(ranked[min(round(2 * third), len(counts) - 1)]),
        )
    low, high = limits
    group = np.where(counts >= high, 0, np.where(counts >= low, 1, 2))
    return {name: np.flatnonzero(group == i).tolist() for i, name in enumerate(GROUPS)}, (low, high)
