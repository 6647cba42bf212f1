"""Labelwise without PyTorch: predictions with an exported model."""

from __future__ import annotations

from pathlib import Path

from labelwise_runtime.errors import LabelwiseError
from labelwise_runtime.export.artefact import Artefact
from labelwise_runtime.inference.prediction import Prediction
from labelwise_runtime.inference.predictor import Predictor, of_artefact
from labelwise_runtime.version import __version__

__all__ = ["LabelwiseError", "Prediction", "Predictor", "__version__", "load"]


def load(path: str | Path, device: str | None = None) -> Predictor:
    """A predictor from an exported folder.

    Args:
        path: the folder.
        device: `cpu`, `gpu` or `tensorrt`, see `labelwise.export.devices`; `None` is the CPU.

    Raises:
        LabelwiseError: no such folder, an artefact that was changed, or a graph that cannot be opened here.
    """
    return of_artefact(Artefact.open(path), device)
