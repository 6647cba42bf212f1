"""From scores to decisions: thresholds per label."""

from labelwise.decisions.thresholds import (
    ThresholdInfo,
    cost_thresholds,
    f1_thresholds,
    precision_thresholds,
)

__all__ = ["ThresholdInfo", "cost_thresholds", "f1_thresholds", "precision_thresholds"]
