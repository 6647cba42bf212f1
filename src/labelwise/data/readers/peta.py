"""PETA: `PETA.mat` (or the pickled index) and `images/`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from labelwise.data.dataset import Dataset
from labelwise.data.readers.attributes import Attributes, Index, dataset_of_attributes
from labelwise.data.readers.files import source_folder
from labelwise.data.readers.matlab import entry, matrix, partition_rows, read_mat, texts
from labelwise.data.readers.pedestrian_index import index_of
from labelwise.data.readers.published import PUBLISHED
from labelwise.data.source import Source
from labelwise.errors import LabelwiseError

FORM = "peta:DIR[?split=official|zs]"
MEANING = "PETA, 35 attributes of pedestrians: PETA.mat or the pickled index, and images/"
OPTIONS = frozenset({"split", "order", "images", "missing"})

_NAMES = (
    "personalLess30 personalLess45 personalLess60 personalLarger60 carryingBackpack carryingOther lowerBodyCasual "
    "upperBodyCasual lowerBodyFormal upperBodyFormal accessoryHat upperBodyJacket lowerBodyJeans "
    "footwearLeatherShoes upperBodyLogo hairLong personalMale carryingMessengerBag accessoryMuffler "
    "accessoryNothing carryingNothing upperBodyPlaid carryingPlasticBags footwearSandals footwearShoes "
    "lowerBodyShorts upperBodyShortSleeve lowerBodyShortSkirt footwearSneaker upperBodyThinStripes "
    "accessorySunglasses lowerBodyTrousers upperBodyTshirt upperBodyOther upperBodyVNeck"
)
NAMES = tuple(_NAMES.split())
_REGIONS = (
    (10, 18, 19, 30, 15),
    (7, 9, 11, 14, 21, 26, 29, 32, 33, 34),
    (6, 8, 12, 25, 27, 31),
    (13, 23, 24, 28),
    (4, 5, 17, 20, 22),
    (0, 1, 2, 3, 16),
)
ATTRIBUTES = Attributes(
    NAMES,
    tuple(tuple(NAMES[i] for i in region) for region in _REGIONS),
    {"age": NAMES[:4]},
)
DESCRIPTORS = 4
"""Columns of the file's matrix before the first attribute."""


def read(source: Source) -> Dataset:
    """Reads PETA's first partition; with `split=zs` the zero-shot one, with test persons in no training image.

    Raises:
        LabelwiseError: missing or truncated files, or sizes other than the official ones.
    """
    zero_shot = source.choice("split", ("official", "zs")) == "zs"
    root = source_folder(source, "a PETA folder")
    index = index_of(root, root / "PETA.mat", _from_mat, zero_shot)
    published = PUBLISHED["peta-zs" if zero_shot else "peta"]
    return dataset_of_attributes(index, ATTRIBUTES, source, [root / "images"], published)


def _from_mat(file: Path) -> Index:
    struct = read_mat(file, "peta")
    table, names = np.asarray(entry(struct, "data", 0, file)), texts(entry(struct, "attribute", 1, file))
    if table.ndim != 2:
        raise LabelwiseError(f"{file}: data in {table.ndim} dimensions", "a matrix", "fetch the file again")
    images = len(table)
    states = matrix(table[:, DESCRIPTORS:], images, len(names), "the attributes", file)
    partition = entry(struct, "partition", 3, file)
    splits = partition_rows(partition, ("train", "val", "test"), images, file)
    return Index(file, [f"{i + 1:05d}.png" for i in range(images)], names, states, splits)
