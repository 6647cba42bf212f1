"""Which labels an audit can judge: those that the models have learned, as far as the annotations can show."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int, Int64

from labelwise.metrics.bootstrap import bootstrap_average_precision, bootstrap_counts, interval
from labelwise.rarity import FEWEST

FEWEST_LEARNED = 5
"""Known positives, and negatives, that each model needs in its training images."""
RESAMPLES = 200


def learned_from(
    positive: Bool[np.ndarray, "N L"], known: Bool[np.ndarray, "N L"], codes: Int[np.ndarray, " N"]
) -> Int64[np.ndarray, "2 L"]:
    """The fewest known positives and negatives of each label in the training images of a fold's model."""
    states = (positive & known, ~positive & known)
    folds = np.unique(codes)
    return np.array([np.min([cells[codes != fold].sum(0) for fold in folds], axis=0) for cells in states])


def not_judged(
    logits: Float[np.ndarray, "N L"],
    positive: Bool[np.ndarray, "N L"],
    known: Bool[np.ndarray, "N L"],
    learned: Int64[np.ndarray, "2 L"] | None = None,
) -> dict[int, str]:
    """Columns of the labels that cannot be judged, each with the reason.

    A label is judged under three conditions: it has at least 10 known positives and 10 known negatives among the
    scored images; every model that scored them had at least 5 of each to learn from; and its average precision is
    above its rate, that of a random order, with the lower end of a 95 % interval over bootstrap samples of the images.

    Args:
        logits: of models that were not trained on the image; finite where known.
        positive: used where known.
        known: the annotations.
        learned: see `learned_from`; `None` if the training images are not available.
    """
    counts = bootstrap_counts(len(logits), RESAMPLES)
    reasons = {}
    for label in range(logits.shape[1]):
        rows = known[:, label]
        reason = _too_few_reason(positive[rows, label], None if learned is None else learned[:, label])
        reason = reason or _unlearned_reason(logits[rows, label], positive[rows, label], counts[rows])
        if reason:
            reasons[label] = reason
    return reasons


def _too_few_reason(positive: np.ndarray, learned: np.ndarray | None) -> str:
    """The reason not to judge a label with too few known cells; empty if there are enough."""
    for row, state in enumerate(("positive", "negative")):
        number = int((positive if state == "positive" else ~positive).sum())
        if number < FEWEST:
            return f"{number} known {state}s, fewer than {FEWEST}"
        if learned is not None and learned[row] < FEWEST_LEARNED:
            return f"a model learned from {learned[row]} known {state}s, fewer than {FEWEST_LEARNED}"
    return ""


def _unlearned_reason(logits: np.ndarray, positive: np.ndarray, counts: np.ndarray) -> str:
    """The reason not to judge a label whose scores may be a random order; empty if they are not."""
    rate = float(positive.mean())
    low = interval(bootstrap_average_precision(logits.astype(np.float64), positive, counts))["low"]
    if low > rate:
        return ""
    return f"not learned: its average precision, from {low:.3f} on, is not above its rate, {rate:.3f}"
