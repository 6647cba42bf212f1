"""PA-100K: `annotation.mat` and the images in `data/`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from labelwise.data.dataset import Dataset
from labelwise.data.readers.attributes import Attributes, Index, dataset_of_attributes
from labelwise.data.readers.files import source_folder
from labelwise.data.readers.matlab import integer_matrix, read_mat, texts
from labelwise.data.readers.published import PUBLISHED
from labelwise.data.source import Source

FORM = "pa100k:DIR"
MEANING = "PA-100K, 26 attributes of pedestrians: annotation.mat and data/"
OPTIONS = frozenset({"order", "images", "missing"})

_NAMES = (
    "Female AgeOver60 Age18-60 AgeLess18 Front Side Back Hat Glasses HandBag ShoulderBag Backpack HoldObjectsInFront "
    "ShortSleeve LongSleeve UpperStride UpperLogo UpperPlaid UpperSplice LowerStripe LowerPattern LongCoat Trousers "
    "Shorts Skirt&Dress boots"
)
NAMES = tuple(_NAMES.split())
ATTRIBUTES = Attributes(
    NAMES,
    (NAMES[7:9], NAMES[13:19], NAMES[19:25], NAMES[25:], NAMES[9:13], (*NAMES[1:4], NAMES[0], *NAMES[4:7])),
    {"age": NAMES[1:4], "view": NAMES[4:7]},
)
SPLITS = ("train", "val", "test")


def read(source: Source) -> Dataset:
    """Reads PA-100K with its official splits.

    Raises:
        LabelwiseError: missing or truncated files, or sizes other than the official ones.
    """
    root = source_folder(source, "a PA-100K folder")
    index = _index(root / "annotation.mat")
    folders = [root / name for name in ("data", "release_data/release_data", "release_data")]
    return dataset_of_attributes(index, ATTRIBUTES, source, folders, PUBLISHED["pa100k"])


def _index(file: Path) -> Index:
    """The index of the official MATLAB file."""
    names = texts(read_mat(file, "attributes"))
    images: list[str] = []
    states, splits = [], {}
    for split in SPLITS:
        files = texts(read_mat(file, f"{split}_images_name"))
        states.append(
            integer_matrix(read_mat(file, f"{split}_label"), len(files), len(names), f"{split}_label", file)
        )
        splits[split] = np.arange(len(images), len(images) + len(files))
        images += files
    return Index(file, images, names, np.concatenate(states), splits)
