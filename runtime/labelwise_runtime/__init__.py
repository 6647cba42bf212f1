"""Labelwise without PyTorch: predictions with an exported model."""

from importlib.metadata import version

from labelwise_runtime.errors import LabelwiseError
from labelwise_runtime.serving.prediction import Prediction
from labelwise_runtime.serving.predictor import Predictor
from labelwise_runtime.serving.predictor import open_export as load

__version__ = version("labelwise-runtime")
__all__ = ["LabelwiseError", "Prediction", "Predictor", "load"]
