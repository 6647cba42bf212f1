"""The demonstration: scenes of real handwritten digits."""

from __future__ import annotations

from typing import Any


def settings(seed: int = 0) -> dict[str, Any]:
    """Settings that train a small network from nothing in about three minutes on two cores.

    The map is taken after the second stage, 8 pixels to a cell, for the digits are small; and without the mean
    feature, so that each label has to find its digit.
    """
    return {
        "data": {"source": "digits:"},
        "method": "dlfl",
        "backbone": {"name": "test_resnet", "weights": "none", "lr_factor": 1.0, "stage": 2},
        "image_size": 96,
        "train_size": 96,
        "augment": {"flip": 0.0, "multi_scale": [1.0, 0.9]},
        "extractor": {"dim": 128, "ffn": 128, "dropout": 0.1, "normalise": "batch", "mean_feature": False},
        "optim": {"lr": 3e-3},
        "epochs": 14,
        "seed": seed,
    }
