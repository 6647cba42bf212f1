"""A trained run that answers."""

from labelwise.serving.predictor import Prediction, Predictor, load

__all__ = ["Prediction", "Predictor", "load"]
