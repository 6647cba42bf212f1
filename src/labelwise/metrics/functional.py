"""Pure functions of scores and targets `[N, L]`; they return arrays for arrays, float64 tensors for tensors."""

from __future__ import annotations

from labelwise.metrics.angles import boundary_angles, label_angles, shared_limit
from labelwise.metrics.attention import attention_entropy, attention_overlap
from labelwise.metrics.attributes import attribute_metrics, one_sided
from labelwise.metrics.calibration import (
    brier_score,
    calibration_error,
    calibration_metrics,
    log_loss,
    pooled_calibration_error,
    reliability,
)
from labelwise.metrics.localisation import energy, pointing, pointing_area, pointing_centre
from labelwise.metrics.ranking import (
    average_precision,
    mean_average_precision,
    precision_recall,
    without_average_precision,
)
from labelwise.metrics.threshold import threshold_metrics

__all__ = [
    "attention_entropy",
    "attention_overlap",
    "attribute_metrics",
    "average_precision",
    "boundary_angles",
    "brier_score",
    "calibration_error",
    "calibration_metrics",
    "energy",
    "label_angles",
    "log_loss",
    "mean_average_precision",
    "one_sided",
    "pointing",
    "pointing_area",
    "pointing_centre",
    "pooled_calibration_error",
    "precision_recall",
    "reliability",
    "shared_limit",
    "threshold_metrics",
    "without_average_precision",
]
