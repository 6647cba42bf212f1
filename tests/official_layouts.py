"""Tiny data sets in the official layouts, with real image files and known random labels."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat

from labelwise.data.readers import pa100k, peta, rapv1, rapv2

COUNTS = {"train": 12, "val": 5, "test": 6}
TOTAL = sum(COUNTS.values())


def states(columns: int, rows: int = TOTAL, seed: int = 0) -> np.ndarray:
    """Random `[rows, columns]` of 0 and 1; the first rows hold both states of every label, so that train has both."""
    values = (np.random.default_rng(seed).random((rows, columns)) < 0.4).astype(np.float64)
    values[0], values[1] = 1, 0
    values[2, ::2], values[3, 1::2] = 1, 1
    return values


def pictures(root: Path, names: Sequence[str]) -> None:
    """A small image file for each name."""
    rng = np.random.default_rng(1)
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (20, 12, 3), dtype=np.uint8)).save(root / name)


def cells(texts: Sequence[str]) -> np.ndarray:
    """Texts as a column of a MATLAB cell array."""
    column = np.empty((len(texts), 1), object)
    column[:, 0] = [np.array([text]) for text in texts]
    return column


def bounds() -> dict[str, np.ndarray]:
    """Row numbers of each split, from 0."""
    ends = np.cumsum([0, *COUNTS.values()])
    return {name: np.arange(ends[i], ends[i + 1]) for i, name in enumerate(COUNTS)}


def partitions(suffix: str, axis: int, names: Sequence[str]) -> np.ndarray:
    """Five partitions as a cell array of structs, rows counted from 1; the later ones are in reverse."""
    structs = np.empty((5, 1), object)
    for i in range(5):
        rows = {name + suffix: np.expand_dims(bounds()[name] + 1.0, 1 - axis) for name in names}
        structs[i, 0] = rows if i == 0 else {name: value[::-1] for name, value in rows.items()}
    return structs


def make_peta(root: Path, change: Callable[[dict[str, Any]], None] = lambda _: None) -> np.ndarray:
    """Writes PETA with the 35 evaluated attributes first of 40; returns the labels."""
    names = [*peta.NAMES, *(f"colour{i}" for i in range(5))]
    labels = states(len(names))
    table = np.concatenate([np.arange(TOTAL * 4).reshape(TOTAL, 4), labels], 1)
    struct = {
        "data": table,
        "attribute": cells(names),
        "selected_attribute": np.arange(1.0, 36)[None],
        "partition": partitions("", 0, ("train", "val", "test")),
    }
    change(struct)
    pictures(root / "images", [f"{i + 1:05d}.png" for i in range(TOTAL)])
    savemat(root / "PETA.mat", {"peta": struct})
    return labels[:, :35]


def make_pa100k(root: Path, change: Callable[[dict[str, Any]], None] = lambda _: None) -> np.ndarray:
    """Writes PA-100K; returns the labels."""
    labels = states(26)
    variables: dict[str, Any] = {"attributes": cells(pa100k.NAMES)}
    for split, rows in bounds().items():
        variables[f"{split}_images_name"] = cells([f"{i + 1:06d}.jpg" for i in rows])
        variables[f"{split}_label"] = labels[rows]
    change(variables)
    pictures(root / "data", [f"{i + 1:06d}.jpg" for i in range(TOTAL)])
    savemat(root / "annotation.mat", variables)
    return labels


def make_rapv1(root: Path, change: Callable[[dict[str, Any]], None] = lambda _: None) -> np.ndarray:
    """Writes RAP v1: 51 of 60 attributes, train and test only, some states unknown; returns the states."""
    names = [*rapv1.NAMES, *(f"up-Colour{i}" for i in range(9))]
    labels = states(len(names))
    labels[6, 3] = 2
    images = [f"CAM01_{i:05d}.png" for i in range(TOTAL)]
    split = np.empty((5, 1), object)
    rows = {"train": np.r_[bounds()["train"], bounds()["val"]], "test": bounds()["test"]}
    for i in range(5):
        split[i, 0] = {f"{name}_index": numbers[None] + 1.0 for name, numbers in rows.items()}
    struct = {
        "partition": split,
        "label": labels,
        "attribute_chs": cells(["?"] * len(names)),
        "attribute_eng": cells(names),
        "position": np.zeros((TOTAL, 4)),
        "imagesname": cells(images),
    }
    change(struct)
    pictures(root / "RAP_dataset", images)
    _save_rap(root, struct)
    return labels[:, :51]


def make_rapv2(root: Path, change: Callable[[dict[str, Any]], None] = lambda _: None) -> np.ndarray:
    """Writes RAP v2: 54 selected attributes of 60, some states unknown; returns the states."""
    names = [f"other{i}" for i in range(6)]
    names = [*names[:3], *rapv2.NAMES, *names[3:]]
    labels = states(len(names))
    labels[7, 9] = 2
    images = [f"CAM02_{i:05d}.png" for i in range(TOTAL)]
    struct = {
        "name": cells(images),
        "data": labels,
        "attribute": cells(names),
        "selected_attribute": np.arange(4.0, 58)[None],
        "partition_attribute": partitions("_index", 1, ("train", "val", "test")).T,
    }
    change(struct)
    pictures(root / "RAP_dataset", images)
    _save_rap(root, struct)
    return labels[:, 3:57]


def _save_rap(root: Path, struct: dict[str, Any]) -> None:
    (root / "RAP_annotation").mkdir(parents=True, exist_ok=True)
    savemat(root / "RAP_annotation" / "RAP_annotation.mat", {"RAP_annotation": struct})


def easydict() -> type:
    """A container that pickles as easydict's does: a dict whose items are attributes too."""

    class EasyDict(dict):  # type: ignore[type-arg]
        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, value)
            super().__setitem__(name, value)

        __setitem__ = __setattr__

    EasyDict.__module__, EasyDict.__qualname__ = "easydict", "EasyDict"
    return EasyDict


def make_index(
    file: Path, names: Sequence[str], labels: np.ndarray, images: Sequence[str], protocol: int = 4
) -> None:
    """Writes the pickled index of pedestrian data sets, with a container called `easydict.EasyDict`."""
    kind = easydict()
    index, parts = kind(), kind()
    index.description, index.root = "made for a test", "somebody's disk"
    index.image_name, index.label, index.attr_name = list(images), labels, list(names)
    for name, rows in bounds().items():
        setattr(parts, name, rows)
    parts.trainval = np.r_[bounds()["train"], bounds()["val"]]
    index.partition, index.weight_train = parts, [labels.mean(0).astype(np.float32)]
    module = ModuleType("easydict")
    module.EasyDict = kind  # type: ignore[attr-defined]
    before = sys.modules.get("easydict")
    sys.modules["easydict"] = module
    try:
        file.write_bytes(pickle.dumps(index, protocol=protocol))
    finally:
        sys.modules.pop("easydict")
        if before is not None:
            sys.modules["easydict"] = before


def make_nuswide(root: Path) -> np.ndarray:
    """Writes NUS-WIDE with its 81 concepts; returns the labels."""
    concepts = [f"concept{i:02d}" for i in range(81)]
    labels = states(81).astype(int)
    rows = {"Train": np.r_[bounds()["train"], bounds()["val"]], "Test": bounds()["test"]}
    for folder in ("ImageList", "Groundtruth/TrainTestLabels"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "Concepts81.txt").write_text("\r\n".join(concepts) + "\r\n")
    for part, which in rows.items():
        names = [f"actor\\{i:04d}_{i}.jpg" for i in which]
        (root / "ImageList" / f"{part}Imagelist.txt").write_text("\r\n".join(names) + "\r\n")
        for j, concept in enumerate(concepts):
            text = "\n".join(str(labels[i, j]) for i in which) + "\n"
            (root / "Groundtruth" / "TrainTestLabels" / f"Labels_{concept}_{part}.txt").write_text(text)
    pictures(root / "Flickr", [f"actor/{i:04d}_{i}.jpg" for i in range(TOTAL)])
    return labels


def make_vg(root: Path) -> np.ndarray:
    """Writes the Visual Genome lists, with images in both folders; returns the labels."""
    labels = states(500).astype(int)
    rows = {"train": np.r_[bounds()["train"], bounds()["val"]], "test": bounds()["test"]}
    root.mkdir(parents=True, exist_ok=True)
    for name, which in rows.items():
        (root / f"{name}_list_500.txt").write_text("".join(f"{i}.jpg\n" for i in which))
    numbers = {f"{i}.jpg": np.flatnonzero(labels[i]).tolist() for i in range(TOTAL)}
    (root / "vg_category_500_labels_index.json").write_text(json.dumps(numbers))
    pictures(root, [f"{'VG_100K' if i % 2 else 'VG_100K_2'}/{i}.jpg" for i in range(TOTAL)])
    return labels


def make_coco(root: Path) -> np.ndarray:
    """Writes COCO-2014 with the official ids of 80 categories and two test images without labels; returns labels."""
    ids = [i for i in range(1, 91) if i not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)]
    labels = states(80).astype(int)
    labels[-2:] = 0
    rows = {"train2014": np.r_[bounds()["train"], bounds()["val"]], "val2014": bounds()["test"]}
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    for part, which in rows.items():
        names = {int(i): f"COCO_{part}_{i:012d}.jpg" for i in which}
        pictures(root / part, list(names.values()))
        content = {
            "images": [{"id": i, "file_name": n, "width": 12, "height": 20} for i, n in names.items()],
            "categories": [{"id": c, "name": f"thing{c}"} for c in ids],
            "annotations": [
                {"id": 100 * i + j, "image_id": i, "category_id": ids[j], "bbox": [1, 1, 5, 5]}
                for i in names
                for j in np.flatnonzero(labels[i]).tolist()
            ],
        }
        (root / "annotations" / f"instances_{part}.json").write_text(json.dumps(content))
    return labels


def make_voc2012(root: Path) -> None:
    """Writes VOC2012 with train and val, without test."""
    from labelwise.data.readers.voc_labels import VOC_NAMES

    for folder in ("Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    labels, names = states(20), [f"2008_{i:06d}" for i in range(TOTAL)]
    pictures(root / "JPEGImages", [f"{name}.jpg" for name in names])
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>6</xmax><ymax>9</ymax></bndbox>"
    for i, name in enumerate(names):
        objects = "".join(
            f"<object><name>{VOC_NAMES[j]}</name>{box}</object>" for j in np.flatnonzero(labels[i])
        )
        size = "<size><width>12</width><height>20</height></size>"
        (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{size}{objects}</annotation>")
    ends = {"train": names[:14], "val": names[14:], "trainval": names}
    for part, which in ends.items():
        (root / "ImageSets" / "Main" / f"{part}.txt").write_text("\n".join(which) + "\n")


def make_voc2007(root: Path) -> None:
    """Writes VOC2007 with train, val and test."""
    make_voc2012(root)
    ids = (root / "ImageSets" / "Main" / "trainval.txt").read_text().split()
    ends = {"train": ids[:10], "val": ids[10:16], "trainval": ids[:16], "test": ids[16:]}
    for part, which in ends.items():
        (root / "ImageSets" / "Main" / f"{part}.txt").write_text("\n".join(which) + "\n")


def make_peta_zs(root: Path) -> None:
    """Writes PETA with the pickled index of its zero-shot split."""
    labels = make_peta(root)
    make_index(root / "dataset_zs_run0.pkl", peta.NAMES, labels, [f"{i + 1:05d}.png" for i in range(TOTAL)])


def make_rapv2_zs(root: Path) -> None:
    """Writes RAP v2 with the pickled index of its zero-shot split."""
    labels, images = make_rapv2(root), [f"CAM02_{i:05d}.png" for i in range(TOTAL)]
    make_index(root / "dataset_zs_run0.pkl", rapv2.NAMES, labels, images)
