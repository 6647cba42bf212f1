"""Metrics of predictions: ranking, thresholds, attributes, calibration, localisation, angles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labelwise.metrics import functional
from labelwise.metrics.angles import AngleReport
from labelwise.metrics.attention import AttentionReport
from labelwise.metrics.localisation import PointingGame
from labelwise.metrics.stream import RankingStream

if TYPE_CHECKING:
    from labelwise.metrics.classes import (
        AttributeMetrics,
        CalibrationError,
        MeanAveragePrecision,
        ThresholdMetrics,
    )

__all__ = [
    "AngleReport",
    "AttentionReport",
    "AttributeMetrics",
    "CalibrationError",
    "MeanAveragePrecision",
    "PointingGame",
    "RankingStream",
    "ThresholdMetrics",
    "functional",
]


def __getattr__(name: str) -> Any:
    """Imports the torchmetrics classes on first use, since their import takes seconds."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from labelwise.metrics import classes

    return getattr(classes, name)
