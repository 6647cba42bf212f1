"""Inference with trained runs: prediction in Python, from files, and over HTTP."""

from typing import TYPE_CHECKING

from labelwise.lazy import names_of

if TYPE_CHECKING:
    from labelwise.serving.loading import load as load
    from labelwise.serving.prediction import Prediction as Prediction
    from labelwise.serving.predictor import Predictor as Predictor

_HOME = {
    "Prediction": "prediction",
    "Predictor": "predictor",
    "load": "loading",
}
__all__ = sorted(_HOME)
__getattr__ = names_of(__name__, _HOME)
