"""mAP by label frequency in training: head, medium and tail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from labelwise.runs.files import read_json

GROUPS = ("head", "medium", "tail")
COUNTS = "train_positives"
"""Name of a label's count of training images, in the results' `training` and in `per_label`."""


@dataclass(frozen=True)
class Frequencies:
    """Known positives of each label in the training split, and the bounds of the groups.

    Args:
        counts: `[L]`, training images in which the label is known to be present.
        bounds: fewest and most images of a label of the medium group.

    >>> Frequencies(np.array([800, 100, 20, 19]), (20, 100)).groups()
    ('head', 'medium', 'medium', 'tail')
    """

    counts: Shaped[np.ndarray, " L"]
    bounds: tuple[int, int] = (20, 100)

    def groups(self) -> tuple[str, ...]:
        """The group of each label: over the second bound, between both (inclusive), or under the first."""
        low, high = self.bounds
        return tuple("head" if n > high else "medium" if n >= low else "tail" for n in self.counts.tolist())

    def named(self, names: tuple[str, ...]) -> dict[str, int]:
        """Count by name, as results hold it."""
        return {name: int(count) for name, count in zip(names, self.counts, strict=True)}

    def figures(
        self, per_label: Mapping[str, Mapping[str, Any]], without: Mapping[str, str]
    ) -> dict[str, Any]:
        """mAP of each group that has a label: the mean AP of its labels with an AP.

        Args:
            per_label: metrics of each label in the order of the counts, with its `AP` or `None`.
            without: what each label without AP lacks; a group lists its own as `labels_without_AP`.

        Source: the groups of Wu et al., "Distribution-Balanced Loss for Multi-Label Classification in Long-Tailed
        Datasets" (2020): over 100, 20 to 100 and under 20 images.
        Differs: their code counts a label of exactly 100 images as head.
        """
        group_of = dict(zip(per_label, self.groups(), strict=True))
        members = {group: [name for name in group_of if group_of[name] == group] for group in GROUPS}
        return mean_of_groups(members, per_label, without)


def mean_of_groups(
    groups: Mapping[str, Sequence[str]],
    per_label: Mapping[str, Mapping[str, Any]],
    without: Mapping[str, str],
) -> dict[str, Any]:
    """Number of labels, mAP and labels without AP of each group of label names that is not empty."""
    figures: dict[str, Any] = {}
    for group, names in groups.items():
        aps = [float(per_label[name]["AP"]) for name in names if per_label[name]["AP"] is not None]
        if names:
            figures[group] = {
                "labels": float(len(names)),
                "mAP": float(np.mean(aps)) if aps else None,
                "labels_without_AP": {name: without[name] for name in names if name in without},
            }
    return figures


def frequencies_of(run: Path, names: tuple[str, ...], bounds: tuple[int, int]) -> Frequencies | None:
    """The frequencies in a run's results; `None` for a run that is not finished or stored none.

    Args:
        run: its folder.
        names: the run's labels, in order.
        bounds: of the groups, see `Frequencies`.
    """
    file = run / "results.json"
    counts = read_json(file).get("training", {}).get(COUNTS) if file.is_file() else None
    if not isinstance(counts, dict) or any(name not in counts for name in names):
        return None
    return Frequencies(np.array([counts[name] for name in names]), bounds)
