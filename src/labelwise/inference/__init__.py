"""Prediction with runs and exports, in Python and from files."""

from typing import TYPE_CHECKING

from labelwise.lazy import names_of

if TYPE_CHECKING:
    from labelwise.inference.loading import load as load
    from labelwise.inference.prediction import Prediction as Prediction
    from labelwise.inference.predictor import Predictor as Predictor

_HOME = {
    "Prediction": "prediction",
    "Predictor": "predictor",
    "load": "loading",
}
__all__ = sorted(_HOME)
__getattr__ = names_of(__name__, _HOME)
