"""Small real image files for the readers."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def photo() -> Callable[..., Path]:
    """Writes a JPEG with content that depends on its seed, and returns its path."""

    def write(path: Path, seed: int = 0, size: tuple[int, int] = (48, 32)) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = np.random.default_rng(seed).integers(0, 255, (4, 6, 3)).astype(np.uint8)
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path, "JPEG", quality=90)
        return path

    return write


@pytest.fixture
def shared() -> Path:
    """The folder of shared photographs; the test skips where it is absent."""
    default = Path(__file__).resolve().parents[3] / "shared"
    folder = Path(os.environ.get("LABELWISE_SHARED", default)) / "data"
    if not folder.is_dir():
        pytest.skip("the shared photographs are not on this machine")
    return folder
