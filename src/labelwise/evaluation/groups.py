"""Metrics of groups of labels, such as the regions of a pedestrian."""

from __future__ import annotations

import numpy as np

from labelwise.evaluation.scores import Scores, StoredScores
from labelwise.metrics import functional as F
from labelwise.types import LabelSet


def group_figures(scores: Scores | StoredScores, labels: LabelSet) -> dict[str, dict[str, float]]:
    """mAP, mean accuracy and macro F1 over the labels of each group, in the order of the label set's groups.

    The means exclude labels without a known positive or a known negative; a group of only such labels has NaN.
    Labels are decided at logit 0. For an exclusive group, `one` is the share of images with a known true label of the
    group in which that label has the highest logit of the group.

    Args:
        scores: logits `[N, L]` with values and known cells.
        labels: with their groups; a set without groups returns an empty dict.
    """
    y = (scores.values >= 0.5).astype(np.uint8)
    figures = {}
    for name, group in labels.groups.items():
        columns = [labels.index(label) for label in group.labels]
        z, t, k = scores.logits[:, columns], y[:, columns], scores.known[:, columns]
        lacking = F.without_average_precision(t, k)
        defined = [j for j in range(len(columns)) if j not in lacking]
        mean_accuracy = F.attribute_metrics(z[:, defined], t[:, defined], k[:, defined], threshold=0.0)["mA"]
        figures[name] = {
            "labels": float(len(columns)),
            "mAP": float(F.mean_average_precision(z, t, k)),
            "mA": mean_accuracy,
            "CF1_macro": F.threshold_metrics(z, t, k, threshold=0.0)["CF1_macro"],
            **({"one": _exclusive_accuracy(z, t, k)} if group.exclusive else {}),
        }
    return figures


def _exclusive_accuracy(logits: np.ndarray, targets: np.ndarray, known: np.ndarray) -> float:
    """Share of images with a known true label of the group in which that label has the highest logit."""
    rows = known.all(1) & (targets.sum(1) == 1)
    if not rows.any():
        return float("nan")
    return float((logits[rows].argmax(1) == targets[rows].argmax(1)).mean())
