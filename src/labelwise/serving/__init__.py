"""Inference with trained runs: prediction in Python, from files, and over HTTP."""

from labelwise.serving.predictor import Prediction, Predictor, load

__all__ = ["Prediction", "Predictor", "load"]
