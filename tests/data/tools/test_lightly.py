"""CSV files of `data convert`, read by the data set class of LightlyTrain.

Its licence is the AGPL, so it is in no extra. With lightly-train 0.18.0, albumentations 2.0.8 and
opencv-python-headless 4.14 in a folder that PYTHONPATH names, the tests run.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from labelwise.data import read
from labelwise.data.writers import convert

peer = pytest.importorskip(
    "lightly_train._data.image_classification_dataset", reason="LightlyTrain is not installed"
)

Photo = Callable[..., Path]


def rows_of(file: Path, labels: tuple[str, ...]) -> dict[str, set[str]]:
    """Image file name -> labels, as LightlyTrain lists them."""
    arguments = peer.ImageClassificationDatasetArgs(
        dir_or_file=file,
        classes=dict(enumerate(labels)),
        ignore_classes=None,
        classification_task="multilabel",
    )
    return {
        Path(row["image_path"]).name: {labels[int(code)] for code in row["class_id"].split(",")}
        for row in arguments.list_image_info()
    }


def test_each_split_is_read_to_the_same_labels(tmp_path: Path, photo: Photo) -> None:
    rng = np.random.default_rng(0)
    names = ("dog", "traffic light", "Bär")
    lines = ["image,split," + ",".join(names)]
    for i in range(12):
        photo(tmp_path / "photos" / f"{i}.jpg", seed=i)
        lines.append(
            f"photos/{i}.jpg,{('train', 'val', 'test')[i % 3]},{','.join(map(str, rng.integers(0, 2, 3)))}"
        )
    (tmp_path / "t.csv").write_text("\n".join(lines), encoding="utf-8")
    data = read(f"csv:{tmp_path / 't.csv'}")
    written = convert(data, tmp_path / "lightly", "lightly")
    assert sorted(written.files) == ["test.csv", "train.csv", "val.csv"]
    for split in ("train", "val", "test"):
        part = data.split(split)
        expected = {
            Path(part.image_id(i)).name: {name for j, name in enumerate(names) if part.values[i, j]}
            for i in range(len(part))
        }
        # Rows without labels are dropped.
        rows = rows_of(tmp_path / "lightly" / f"{split}.csv", names)
        assert rows == {name: labels for name, labels in expected.items() if labels}
