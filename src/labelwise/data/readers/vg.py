"""Visual Genome, 500 or 200 labels: `train_list_500.txt`, `test_list_500.txt`, a JSON of label numbers, `VG_100K/`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from labelwise.data.dataset import Dataset
from labelwise.data.readers.exports import filled_lines, json_content
from labelwise.data.readers.files import image_folder, keep_existing, source_folder, text_array
from labelwise.data.readers.published import PUBLISHED, count_notes
from labelwise.data.source import Source
from labelwise.errors import LabelwiseError
from labelwise.types import LabelSet

FORM = "vg:DIR[?labels=500|200]"
MEANING = (
    "Visual Genome lists of 500 labels, or their first 200: two lists, a JSON of label numbers, and VG_100K/"
)
OPTIONS = frozenset({"labels", "images", "missing"})

LABELS = "vg_category_500_labels_index.json"
LISTS = {"train": "train_list_500.txt", "test": "test_list_500.txt"}


def read(source: Source) -> Dataset:
    """Reads the released lists; the 200 labels are the first of the 500. Their names were never released.

    Raises:
        LabelwiseError: missing or truncated files, an invalid label number, an image that is not in the JSON, or one
            that is in both lists.
    """
    count = int(source.choice("labels", ("500", "200")))
    root = source_folder(source, "a Visual Genome folder")
    numbers = _numbers(root / LABELS)
    images: list[str] = []
    codes: list[int] = []
    for code, name in enumerate(LISTS.values()):
        listed = _listed_images(root / name)
        images += listed
        codes += [code] * len(listed)
    repeated = [name for name, times in Counter(images).items() if times > 1]
    if repeated:
        raise LabelwiseError(
            f"{root}: image {repeated[0]} twice in the lists", "each image once", "correct the lists"
        )
    unlabelled = [name for name in images if name not in numbers]
    if unlabelled:
        raise LabelwiseError(
            f"{root / LABELS} without {len(unlabelled):,} listed images: {', '.join(unlabelled[:5])}",
            "the labels of every listed image",
            "fetch the file again",
        )
    values = _values(images, numbers, count, root / LABELS)
    data = Dataset(
        labels=LabelSet(tuple(f"vg{i:03d}" for i in range(count))),
        images=text_array(_image_paths(source, root, images)),
        root=image_folder(source.options["images"]) if "images" in source.options else root,
        values=values,
        known=np.ones(values.shape, bool),
        split_of=np.array(codes, np.int16),
        split_names=tuple(LISTS),
        rows_in_source=len(images),
    )
    notes = ["The label names were never released: labels are named by their number."]
    empty = int((~values.any(1)).sum())
    notes += [f"{empty:,} images without any of the {count} labels are all-negative."] if empty else []
    return keep_existing(data.with_notes(*notes, *count_notes(data.splits(), PUBLISHED["vg"])), source)


def _listed_images(file: Path) -> list[str]:
    """The file names of a released list, in its order."""
    if not file.is_file():
        raise LabelwiseError(f"{file}, which does not exist", "the released list", "add the file")
    return [line.split()[0].rpartition("/")[2] for line in filled_lines(file)]


def _numbers(file: Path) -> dict[str, Any]:
    """The label numbers of each image."""
    if not file.is_file():
        raise LabelwiseError(f"{file}, which does not exist", "the released labels", "add the file")
    content = json_content(file, "a whole JSON file")
    if not isinstance(content, dict):
        raise LabelwiseError(
            f"{file} holding no mapping", "image name: label numbers", "fetch the file again"
        )
    return content


def _values(images: list[str], numbers: dict[str, Any], count: int, file: Path) -> np.ndarray:
    """Values `[N, count]`; raises `LabelwiseError` for a number that is no label."""
    values = np.zeros((len(images), 500), np.uint8)
    for row, name in enumerate(images):
        columns = numbers[name]
        if not isinstance(columns, list) or not all(type(n) is int and 0 <= n < 500 for n in columns):
            raise LabelwiseError(
                f"{file}: labels of {name} are {numbers[name]!r}", "numbers from 0 to 499", "fetch it again"
            )
        values[row, columns] = 1
    return values[:, :count]


def _image_paths(source: Source, root: Path, images: list[str]) -> list[str]:
    """Paths under the folder of the images, which may be two, since the images are released as two archives."""
    if "images" in source.options:
        return images
    usual = ("VG_100K", "VG_100K_2", "images")
    folders = [folder for folder in usual if (root / folder).is_dir()] or ["VG_100K"]
    files_of = {folder: {file.name for file in (root / folder).glob("*")} for folder in folders}
    return [f"{next((f for f in folders if name in files_of[f]), folders[0])}/{name}" for name in images]
