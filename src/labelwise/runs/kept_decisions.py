"""Decisions that a run takes over from the run that its training started from."""

from __future__ import annotations

from pathlib import Path

from labelwise.decisions import Decisions, KeptDecisions
from labelwise.runs.run import Run
from labelwise.types import LabelSet


def number_taken_over(init_from: str | Path, labels: LabelSet) -> int:
    """The number of labels that a run to start from has, if labels were added to them; else 0."""
    before = len(Run.open(init_from).labels) if init_from else 0
    return before if before < len(labels) else 0


def kept_decisions(init_from: str | Path, labels: LabelSet) -> KeptDecisions | None:
    """Thresholds and calibration of the labels taken over, which growth leaves as they are.

    Labels that the earlier run never selected are fitted like new ones. `None` if no label was added, or if the earlier
    run fitted nothing.
    """
    if not number_taken_over(init_from, labels):
        return None
    run = Run.open(init_from)
    fitted = run.decisions()
    rows = [j for j in range(len(run.labels)) if j not in fitted.never]
    if not fitted.fitted or not rows:
        return None
    own = Decisions(fitted.thresholds[rows], fitted.scale[rows], fitted.bias[rows])
    return KeptDecisions([labels.names.index(run.labels.names[j]) for j in rows], own)
