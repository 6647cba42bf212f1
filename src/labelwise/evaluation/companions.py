"""Co-occurrence shift: the accuracy of a label on images without its usual companion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from labelwise.metrics.arrays import Cells

FEWEST = 5
"""Positives that a label must have with its companion, and without it."""
SHARE = 0.2
"""Smallest `P(companion | label)` of a usual companion."""


@dataclass(frozen=True)
class Companion:
    """A label, the label that most often occurs with it in training, and their `P(companion | label)`."""

    label: int
    other: int
    share: float


def companions(values: np.ndarray, known: np.ndarray) -> list[Companion]:
    """Each label's usual companion: `argmax_c P(c | l)` over training images where both are known.

    Args:
        values: `[N, L]` of the training split; positive from 0.5.
        known: `[N, L]` bool.

    >>> usual = companions(np.array([[1, 1, 0], [1, 1, 0], [0, 1, 0]]), np.ones((3, 3), bool))
    >>> [(c.label, c.other, round(c.share, 2)) for c in usual]
    [(0, 1, 1.0), (1, 0, 0.67)]
    """
    present = ((values >= 0.5) & known).astype(np.float64)
    joint_counts, known_counts = present.T @ present, present.T @ known.astype(np.float64)
    share = np.divide(joint_counts, known_counts, out=np.zeros_like(joint_counts), where=known_counts > 0)
    np.fill_diagonal(share, 0)
    best = share.argmax(1)
    return [Companion(j, int(c), float(share[j, c])) for j, c in enumerate(best) if share[j, c] >= SHARE]


def weighted_ap(
    scores: Float[np.ndarray, " N"], weights: Float[np.ndarray, " N"], positive: np.ndarray
) -> float:
    """Average precision (raw) in which image i counts `w_i` times; tied scores form one step.

    `sum_j (R_j - R_{j-1}) P_j` over distinct scores from the top, with `TP`, `FP` sums of weights.

    >>> y = np.array([False, True, True, False, True])
    >>> round(weighted_ap(np.array([5.0, 4, 3, 2, 1]), np.ones(5), y), 6)
    0.588889
    """
    order = np.argsort(-scores, kind="stable")
    s, hit = scores[order], (weights * positive)[order].cumsum()
    total = weights[order].cumsum()
    last = np.append(np.flatnonzero(np.diff(s)), len(s) - 1)
    gained = np.diff(hit[last], prepend=0.0)
    return float((gained * hit[last] / total[last]).sum() / hit[-1])


def cooccurrence_shift(
    logits: np.ndarray | Tensor,
    values: np.ndarray,
    known: Bool[np.ndarray, "N L"],
    usual: Sequence[Companion],
    names: Sequence[str],
) -> dict[str, Any]:
    """AP of each label on images with its usual companion and on images without it.

    Both parts have the same negatives: every image where the label is known to be absent. The positives of each part
    are weighted to the number of all positives of the label, so that both parts have its prevalence and their APs
    are comparable. Without the weights, the part with fewer positives would score lower for any model.

    Args:
        logits: `[N, L]`.
        values: `[N, L]`; positive from 0.5.
        known: `[N, L]`.
        usual: from the training split, see `companions`.
        names: of the labels.

    Returns:
        `with`, `without` and `gap` (their difference) as means over the evaluated labels, and the figures of each.
    """
    cells = Cells.read(logits, (values >= 0.5).astype(np.uint8), known)
    per_label = {}
    for pair in usual:
        both_known = known[:, pair.label] & known[:, pair.other]
        positive = (values[:, pair.label] >= 0.5) & both_known
        has_companion = values[:, pair.other] >= 0.5
        parts = {"with": positive & has_companion, "without": positive & ~has_companion}
        if min(part.sum() for part in parts.values()) < FEWEST:
            continue
        absent = known[:, pair.label] & (values[:, pair.label] < 0.5)
        if not absent.any():  # every order of the images would give an AP of 1
            continue
        ap = {
            name: _part_ap(cells.scores[:, pair.label], part, absent, int(positive.sum()))
            for name, part in parts.items()
        }
        per_label[names[pair.label]] = {
            "companion": names[pair.other],
            "share_in_train": pair.share,
            **ap,
            **{f"images_{name}": int(part.sum()) for name, part in parts.items()},
        }
    means = {
        name: float(np.mean([row[name] for row in per_label.values()])) if per_label else None
        for name in ("with", "without")
    }
    gap = None if not per_label else means["with"] - means["without"]  # type: ignore[operator]
    return {**means, "gap": gap, "labels": len(per_label), "per_label": per_label}


def _part_ap(scores: np.ndarray, part: np.ndarray, absent: np.ndarray, positives: int) -> float:
    """AP of a part of the positives, weighted to the number of all positives, among the images without the label."""
    rows = part | absent
    weights = np.where(part, positives / part.sum(), 1.0)[rows]
    return weighted_ap(scores[rows].astype(np.float64), weights, part[rows])
