"""Labelwise without PyTorch: predictions with an exported model."""

from labelwise_runtime.errors import LabelwiseError
from labelwise_runtime.inference.prediction import Prediction
from labelwise_runtime.inference.predictor import Predictor
from labelwise_runtime.inference.predictor import open_export as load
from labelwise_runtime.version import __version__

__all__ = ["LabelwiseError", "Prediction", "Predictor", "__version__", "load"]
