"""From scores to decisions: calibration, thresholds and rules per label."""

from typing import TYPE_CHECKING

from labelwise.lazy import names_of

if TYPE_CHECKING:
    from labelwise.decisions.calibration import Calibration as Calibration
    from labelwise.decisions.calibration import calibrate as calibrate
    from labelwise.decisions.decisions import Decisions as Decisions
    from labelwise.decisions.decisions import never_selected_note as never_selected_note
    from labelwise.decisions.floors import Floors as Floors
    from labelwise.decisions.objective import Objective as Objective
    from labelwise.decisions.thresholds import ThresholdInfo as ThresholdInfo
    from labelwise.decisions.thresholds import cost_thresholds as cost_thresholds
    from labelwise.decisions.thresholds import f1_thresholds as f1_thresholds
    from labelwise.decisions.thresholds import precision_thresholds as precision_thresholds
    from labelwise.decisions.thresholds import recall_thresholds as recall_thresholds
    from labelwise.decisions.tuning import KeptDecisions as KeptDecisions
    from labelwise.decisions.tuning import Tuning as Tuning
    from labelwise.decisions.tuning import tune as tune
    from labelwise.decisions.tuning import tune_again as tune_again

_HOME = {
    "Calibration": "calibration",
    "Decisions": "decisions",
    "Floors": "floors",
    "KeptDecisions": "tuning",
    "Objective": "objective",
    "ThresholdInfo": "thresholds",
    "Tuning": "tuning",
    "calibrate": "calibration",
    "cost_thresholds": "thresholds",
    "f1_thresholds": "thresholds",
    "never_selected_note": "decisions",
    "precision_thresholds": "thresholds",
    "recall_thresholds": "thresholds",
    "tune": "tuning",
    "tune_again": "tuning",
}
__all__ = sorted(_HOME)
__getattr__ = names_of(__name__, _HOME)
