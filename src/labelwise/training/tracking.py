"""Optional experiment trackers: TensorBoard, MLflow, Weights & Biases."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from labelwise.lazy import require_package
from labelwise.training.resuming import dotted

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

    from labelwise.runs.config import Config

PROJECT = "labelwise"
TRACKERS = ("tensorboard", "mlflow", "wandb")  # names of their settings


class Tracking:
    """The trackers that `config` turns on, each through Accelerate's adapter.

    Nothing leaves the machine by default: MLflow writes `mlflow.db` beside the run's folder unless MLFLOW_TRACKING_URI
    is set, and Weights & Biases writes under the run's folder unless WANDB_MODE=online.

    Args:
        path: the run's folder; its name is the name of the tracked run.
        config: all settings; they are stored with the run.

    Raises:
        LabelwiseError: the package of a tracker is missing.
    """

    def __init__(self, path: Path, config: Config) -> None:
        self._trackers = [_OPEN[name](path) for name in TRACKERS if getattr(config, name)]
        # Trackers refuse values of other types.
        settings = {
            name: value if isinstance(value, int | float | str | bool) else str(value)
            for name, value in dotted(config.model_dump(mode="json")).items()
        }
        for tracker in self._trackers:
            tracker.start()
            if tracker.name != "tensorboard":  # TensorBoard would show its table of settings as a second run
                tracker.store_init_configuration(settings)

    def log(self, values: dict[str, float], step: int) -> None:
        """Log named numbers at a step of the training."""
        for tracker in self._trackers:
            tracker.log(values, step=step)

    def close(self) -> None:
        """Flush and end the trackers' runs."""
        for tracker in self._trackers:
            tracker.finish()


def _tensorboard(path: Path) -> GeneralTracker:
    require_package("tensorboard", "tensorboard = true without the package", "tensorboard")
    from accelerate.tracking import TensorBoardTracker

    return TensorBoardTracker("tensorboard", logging_dir=path)


def _mlflow(path: Path) -> GeneralTracker:
    require_package("mlflow", "mlflow = true without the package", "mlflow")
    import mlflow
    from accelerate.tracking import MLflowTracker

    if not os.environ.get("MLFLOW_TRACKING_URI"):
        mlflow.set_tracking_uri(f"sqlite:///{path.resolve().parent / 'mlflow.db'}")
    return MLflowTracker(PROJECT, run_name=path.name)


def _wandb(path: Path) -> GeneralTracker:
    require_package("wandb", "wandb = true without the package", "wandb")
    from accelerate.tracking import WandBTracker

    mode = os.environ.get("WANDB_MODE", "offline")
    return WandBTracker(PROJECT, name=path.name, dir=str(path), mode=mode)


_OPEN: dict[str, Callable[[Path], GeneralTracker]] = {
    "tensorboard": _tensorboard,
    "mlflow": _mlflow,
    "wandb": _wandb,
}
