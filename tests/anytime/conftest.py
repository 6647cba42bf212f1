"""Settings of a training in stages, for a network with weights in a file."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch

import tiny_runs
from labelwise.runs.config import Config, make_config


@pytest.fixture(scope="session")
def config(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Settings with weights in a file, like pretrained weights."""
    weights = tmp_path_factory.mktemp("weights") / "weights.pt"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.save(timm.create_model("test_vit", num_classes=0, img_size=32).state_dict(), weights)
    backbone = {"name": "test_vit", "weights": str(weights), "stage": 1}
    settings = tiny_runs.settings(f"parquet:{table}", backbone=backbone)
    settings.pop("extractor")
    return make_config(settings)
