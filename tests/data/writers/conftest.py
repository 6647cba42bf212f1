"""A few real image files and a small data set over them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from labelwise.data.dataset import BOX_TYPE, Dataset
from written_sets import ROWS, dataset


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `a/0.jpg` to `a/5.jpg`, each of another size and colour."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "a").mkdir()
    for i in range(ROWS):
        Image.new("RGB", (40 + i, 30), (40 * i, 90, 10)).save(folder / "a" / f"{i}.jpg")
    return folder


@pytest.fixture
def small(photos: Path) -> Dataset:
    """Four images, three labels, one cell unknown, splits, groups and boxes."""
    box = {"label": 0, "x0": 0.25, "y0": 0.1, "x1": 0.75, "y1": 0.5}
    return dataset(
        photos,
        ["dog", "tall, cat", "person"],
        [[1, 0, 1], [0, 1, 0], [np.nan, 1, 0], [0, 0, 0]],
        split_of=np.array([0, 0, 1, 1], np.int16),
        split_names=("train", "val"),
        group=np.array([7, 7, 8, 9], np.int64),
        boxes=pa.array([[box], [], [], []], BOX_TYPE),
        source="test",
    )
