"""NUS-WIDE: `ImageList/`, `Groundtruth/`, `Concepts81.txt` and the images in `Flickr/`."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np

from labelwise.data.dataset import Dataset
from labelwise.data.readers.exports import filled_lines
from labelwise.data.readers.files import find_root, image_folder, keep_existing, source_folder, text_array
from labelwise.data.readers.published import PUBLISHED, count_notes
from labelwise.data.source import Source
from labelwise.errors import LabelwiseError
from labelwise.types import LabelSet

FORM = "nuswide:DIR"
MEANING = "NUS-WIDE, 81 concepts: ImageList/, Groundtruth/, Concepts81.txt and Flickr/"
OPTIONS = frozenset({"images", "missing"})

PARTS = {"train": "Train", "test": "Test"}


def read(source: Source) -> Dataset:
    """Reads NUS-WIDE with its official lists; each concept has a file of labels in the order of the image list.

    Raises:
        LabelwiseError: missing files, cells other than 0 and 1, lists of different lengths, or an image in both lists.
    """
    root = source_folder(source, "a NUS-WIDE folder")
    concepts = filled_lines(_first_file(root, "Concepts81.txt", "ConceptsList/Concepts81.txt"))
    if len(set(concepts)) != len(concepts):
        raise LabelwiseError(
            f"{root}: a concept twice in Concepts81.txt", "each once", "fetch the file again"
        )
    images: list[str] = []
    states, codes = [], []
    for code, prefix in enumerate(PARTS.values()):
        names = _images(root, prefix)
        states.append(np.stack([_states(root, concept, prefix, len(names)) for concept in concepts], 1))
        codes += [code] * len(names)
        images += names
    repeated = [name for name, count in Counter(images).items() if count > 1]
    if repeated:
        raise LabelwiseError(
            f"{root}: image {repeated[0]} twice in ImageList",
            "each image in one list, once",
            "correct the lists",
        )
    values = np.concatenate(states)
    data = Dataset(
        labels=LabelSet(tuple(concepts)),
        images=text_array(images),
        root=_image_root(source, root, images),
        values=values,
        known=np.ones(values.shape, bool),
        split_of=np.array(codes, np.int16),
        split_names=tuple(PARTS),
        rows_in_source=len(images),
    )
    empty = int((~values.any(1)).sum())
    notes = [f"{empty:,} images without a concept are all-negative."] if empty else []
    return keep_existing(data.with_notes(*notes, *count_notes(data.splits(), PUBLISHED["nuswide"])), source)


def _first_file(root: Path, *names: str) -> Path:
    """The first of these files that exists; raises `LabelwiseError` if there is none."""
    for name in names:
        if os.path.isfile(root / name):
            return root / name
    raise LabelwiseError(f"{str(root)!r} without {names[0]}", "the official archive", "add the file")


def _images(root: Path, prefix: str) -> list[str]:
    """The images of an official list, in its order."""
    names = [f"ImageList/{name}" for name in (f"{prefix}Imagelist.txt", f"{prefix}ImageList.txt")]
    return [
        line.replace("\\", "/") for line in filled_lines(_first_file(root, *names, f"{prefix}Imagelist.txt"))
    ]


def _states(root: Path, concept: str, prefix: str, images: int) -> np.ndarray:
    """The cells of a concept for the images of a list; raises `LabelwiseError` unless there is a 0 or 1 for each."""
    name = f"Labels_{concept}_{prefix}.txt"
    file = _first_file(
        root, f"Groundtruth/TrainTestLabels/{name}", f"Groundtruth/{name}", f"TrainTestLabels/{name}"
    )
    cells = filled_lines(file)
    odd = next((i for i, cell in enumerate(cells) if cell not in ("0", "1")), None)
    if odd is not None:
        raise LabelwiseError(
            f"{file}: {cells[odd][:20]!r} in line {odd + 1}", "0 or 1 in each line", "fetch the file again"
        )
    if len(cells) != images:
        raise LabelwiseError(
            f"{file} with {len(cells):,} lines", f"{images:,}, one per image of the list", "fetch it again"
        )
    return np.array(cells, np.uint8)


def _image_root(source: Source, root: Path, images: list[str]) -> Path:
    """The folder of the images: that of the option `images`, or a usual one."""
    if "images" in source.options:
        return image_folder(source.options["images"])
    return find_root(images, [root / "Flickr", root / "images", root])
