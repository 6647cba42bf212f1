"""Decisions that a run takes over from the run that its training started from."""

from __future__ import annotations

from pathlib import Path

from labelwise.decisions import Decisions, KeptDecisions
from labelwise.runs.run import Run
from labelwise.types import LabelSet


def number_taken_over(init_from: str | Path, labels: LabelSet) -> int:
    """The number of labels that a run to start from has, if labels were added to them; else 0."""
    earlier_number = len(Run.open(init_from).labels) if init_from else 0
    return earlier_number if earlier_number < len(labels) else 0


def kept_decisions(init_from: str | Path, labels: LabelSet) -> KeptDecisions | None:
    """Thresholds and calibration of the labels taken over, which growth leaves as they are.

    Labels that the earlier run never selected are fitted like new ones. `None` if no label was added, or if the earlier
    run fitted nothing.
    """
    if not number_taken_over(init_from, labels):
        return None
    run = Run.open(init_from)
    earlier = run.decisions()
    columns = [j for j in range(len(run.labels)) if j not in earlier.never]
    if not earlier.fitted or not columns:
        return None
    kept = Decisions(earlier.thresholds[columns], earlier.scale[columns], earlier.bias[columns])
    return KeptDecisions([labels.names.index(run.labels.names[j]) for j in columns], kept)
