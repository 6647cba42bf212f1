"""COCO and VOC trees that the package datumaro itself writes; skipped if it is not installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from labelwise.data import read

pytest.importorskip(
    "datumaro", reason="datumaro is not installed; test_coco_exports and test_voc_exports have its form"
)

from datumaro.components.annotation import Bbox, Label
from datumaro.components.dataset import Dataset as Written
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image

NAMES = ("zebra", "cat", "bus")
ITEMS = {  # image: its subset, labels of the image, labels of boxes
    "a": ("train", (0, 2), ()),
    "my photo 1": ("train", (1,), ()),
    "sub/c": ("train", (), ()),
    "d": ("val", (2,), (0, 1)),
    "e": ("val", (), (1,)),
    "f": ("test", (0,), ()),
    "g": ("test", (), ()),
}


def write(folder: Path, form: str, subset: str | None, boxes: bool) -> None:
    rng = np.random.default_rng(0)
    items = []
    for name, (own, labels, boxed) in ITEMS.items():
        marks = [Label(j) for j in labels] + [Bbox(1, 2, 5, 6, label=j) for j in boxed if boxes]
        media = Image.from_numpy(data=rng.integers(0, 255, (20, 30, 3)).astype(np.uint8))
        items.append(DatasetItem(id=name, subset=subset or own, media=media, annotations=marks))
    Written.from_iterable(items, categories=list(NAMES)).export(str(folder), form, save_media=True)


@pytest.mark.parametrize("subset", [None, "default", "train"])
@pytest.mark.parametrize(
    ("form", "boxes"),
    [
        ("coco", True),
        ("coco", False),
        ("coco_labels", False),
        ("voc", True),
        ("voc", False),
        ("voc_classification", False),
    ],
)
def test_a_tree_of_datumaro(tmp_path: Path, form: str, boxes: bool, subset: str | None) -> None:
    write(tmp_path / "tree", form, subset, boxes)
    data = read(f"{form.partition('_')[0]}:{tmp_path / 'tree'}")
    assert data.labels.names == NAMES
    assert data.known.all()
    states = {}
    for i in range(len(data)):
        place = data.image_id(i).rpartition(".")[0]
        name = next(name for name in sorted(ITEMS, key=len, reverse=True) if place.endswith(name))
        split = data.split_names[data.split_of[i]] if data.split_of is not None else None
        states[name] = (split, {NAMES[j] for j in np.flatnonzero(data.positive[i])})
    own = {None: None, "default": None, "train": "train"}
    assert states == {
        name: (
            own[subset] if subset else split,
            {NAMES[j] for j in (*labels, *(boxed if boxes else ()))},
        )
        for name, (split, labels, boxed) in ITEMS.items()
    }
