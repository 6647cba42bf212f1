"""Figures of groups of labels, such as the regions of a pedestrian."""

from __future__ import annotations

import numpy as np

from labelwise.evaluation.scores import Scores, StoredScores
from labelwise.metrics import functional as F
from labelwise.types import LabelSet


def group_figures(scores: Scores | StoredScores, labels: LabelSet) -> dict[str, dict[str, float]]:
    """mAP, mean accuracy and macro F1 over the labels of each group, in the order of the label set's groups.

    A label without a known positive or a known negative is in none of the means, and a group of such labels has none.
    Labels are decided at logit 0 as everywhere; of an exclusive group `one` is the share of images with a known true
    label of the group in which the highest logit of the group is that label's.

    Args:
        scores: logits `[N, L]` beside what is known.
        labels: with their groups; a set without groups gives nothing.
    """
    y = (scores.values >= 0.5).astype(np.uint8)
    found = {}
    for name, group in labels.groups.items():
        columns = [labels.index(label) for label in group.labels]
        z, t, k = scores.logits[:, columns], y[:, columns], scores.known[:, columns]
        lacking = F.without_average_precision(t, k)
        judged = [j for j in range(len(columns)) if j not in lacking]
        mean_accuracy = F.attribute_metrics(z[:, judged], t[:, judged], k[:, judged], threshold=0.0)["mA"]
        found[name] = {
            "labels": float(len(columns)),
            "mAP": float(F.mean_average_precision(z, t, k)),
            "mA": mean_accuracy,
            "CF1_macro": F.threshold_metrics(z, t, k, threshold=0.0)["CF1_macro"],
            **({"one": _one(z, t, k)} if group.exclusive else {}),
        }
    return found


def _one(logits: np.ndarray, targets: np.ndarray, known: np.ndarray) -> float:
    rows = known.all(1) & (targets.sum(1) == 1)
    if not rows.any():
        return float("nan")
    return float((logits[rows].argmax(1) == targets[rows].argmax(1)).mean())
