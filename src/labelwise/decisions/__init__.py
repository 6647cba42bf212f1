"""From scores to decisions: calibration, thresholds and rules per label."""

from labelwise.decisions.calibration import Calibration, calibrate
from labelwise.decisions.decisions import Decisions, never_selected_note
from labelwise.decisions.floors import Floors
from labelwise.decisions.objective import Objective
from labelwise.decisions.thresholds import (
    ThresholdInfo,
    cost_thresholds,
    f1_thresholds,
    precision_thresholds,
    recall_thresholds,
)
from labelwise.decisions.tuning import KeptDecisions, Tuning, tune, tune_again

__all__ = [
    "Calibration",
    "Decisions",
    "Floors",
    "KeptDecisions",
    "Objective",
    "ThresholdInfo",
    "Tuning",
    "calibrate",
    "cost_thresholds",
    "f1_thresholds",
    "never_selected_note",
    "precision_thresholds",
    "recall_thresholds",
    "tune",
    "tune_again",
]
