"""mAP of the labels that a grown run took over from another run, and of those that it added."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labelwise.evaluation.frequency import mean_of_groups
from labelwise.runs.files import read_json

TAKEN_OVER = "labels_taken_over"
"""Key of the number of labels taken over, in the results' `training`; these labels come first."""


def growth_figures(
    per_label: Mapping[str, Mapping[str, Any]], taken_over: int, without: Mapping[str, str]
) -> dict[str, Any]:
    """mAP of the labels taken over and of the added ones.

    Args:
        per_label: metrics of each label in the run's order, with its `AP` or `None`.
        taken_over: how many labels, from the first on, the other run had.
        without: what each label without an AP lacks.
    """
    names = list(per_label)
    groups = {"taken over": names[:taken_over], "added": names[taken_over:]}
    return mean_of_groups(groups, per_label, without)


def labels_taken_over(run: Path) -> int:
    """The number of labels that a run took over from another one before it added some; 0 for other runs."""
    file = run / "results.json"
    return int(read_json(file).get("training", {}).get(TAKEN_OVER, 0)) if file.is_file() else 0
