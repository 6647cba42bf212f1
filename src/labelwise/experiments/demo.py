"""The demonstration: scenes of real handwritten digits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from labelwise.errors import LabelwiseError
from labelwise.runs.run import KEPT, WEIGHTS, Run
from labelwise.training.checkpoint import PREVIOUS, STATE


def settings(seed: int = 0) -> dict[str, Any]:
    """Settings that train a small network from scratch in about three minutes on two cores.

    The features are those of the second stage, with stride 8, since the digits are small; the mean feature is off, so
    that each label has to localise its digit.
    """
    return {
        "data": {"source": "digits:"},
        "method": "dlfl",
        "backbone": {"name": "test_resnet", "weights": "none", "lr_factor": 1.0, "stage": 2},
        "image_size": 96,
        "train_size": 96,
        "augment": {"flip": 0.0, "multi_scale": [1.0, 0.9]},
        "extractor": {
            "dim": 128,
            "ffn": 128,
            "dropout": 0.1,
            "map_dropout": 0.0,
            "normalise": "batch",
            "mean_feature": False,
        },
        "optim": {"lr": 3e-3},
        "epochs": 14,
        "seed": seed,
    }


def clear(out: Path) -> None:
    """Removes the model and state of an earlier demonstration from its folder.

    Raises:
        LabelwiseError: the folder holds a run of other data, which is not touched.
    """
    if not (out / "config.yaml").is_file():
        return
    if Run.open(out).config.data.source != "digits:":
        raise LabelwiseError(f"{out} holds a run of other data", "a new folder", "use another --out")
    for name in (WEIGHTS, KEPT, STATE, PREVIOUS):
        (out / name).unlink(missing_ok=True)
