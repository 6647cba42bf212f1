"""PETA: `PETA.mat`, the pickled index or a table, and `images/`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from labelwise.data.dataset import Dataset
from labelwise.data.readers.attributes import UNKNOWN, Attributes, Index, dataset_of_attributes
from labelwise.data.readers.csv import read as read_csv
from labelwise.data.readers.files import source_folder
from labelwise.data.readers.matlab import entry, integer_matrix, partition_rows, read_mat, texts
from labelwise.data.readers.pedestrian_index import WHOLE, ZERO_SHOT, index_of
from labelwise.data.readers.published import PUBLISHED
from labelwise.data.source import Source
from labelwise.errors import LabelwiseError

FORM = "peta:DIR[?split=official|zs][?attributes=all][?leave_out=SUBSET]"
MEANING = "PETA, 35 attributes of pedestrians: PETA.mat, the pickled index or labels.csv, and images/"
OPTIONS = frozenset({"split", "attributes", "order", "images", "missing", "leave_out"})

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
    NAMES, tuple(tuple(NAMES[i] for i in region) for region in _REGIONS), {"age": NAMES[:4]}
)
TABLE = "labels.csv"
TABLE_OF_ALL = "labels_all106.csv"
_PREFIXES = (
    ("accessory", "hair"),
    ("upperBody",),
    ("lowerBody",),
    ("footwear",),
    ("carrying",),
    ("personal",),
)
"""Of the names of each region, in the order of `REGIONS`."""
DESCRIPTORS = 4
"""Columns of the file's matrix before the first attribute."""


def read(source: Source) -> Dataset:
    """Reads PETA's first partition; with `split=zs` the zero-shot one, with test persons in no training image.

    A folder without the published files may hold the attributes as `labels.csv`, with columns for the image, the split
    and the person (`group`). Its splits are its own. With `leave_out=SUBSET`, train and val are without the images in
    the folder `images/SUBSET`, and the test split is of these alone: a camera that training has not seen. With
    `attributes=all` every attribute of the file is read, also the rare ones that figures of the field leave out; beside
    a table they are those of `labels_all106.csv`, with a column for the image.

    Raises:
        LabelwiseError: missing or truncated files, sizes other than the official ones, a person in two splits,
            `split` beside a table, or `leave_out` of a folder without test images or that training needs.
    """
    zero_shot = source.choice("split", ("official", "zs")) == "zs"
    every = source.choice("attributes", ("evaluated", "all")) == "all"
    root = source_folder(source, "a PETA folder")
    files = ("PETA.mat", WHOLE, ZERO_SHOT)
    if (root / TABLE).is_file() and not any((root / name).is_file() for name in files):
        if "split" in source.options:
            raise LabelwiseError(
                f"split={source.options['split']} for {root / TABLE}",
                "the splits of the table",
                "remove split=",
            )
        given = {name: source.options[name] for name in ("images", "missing") if name in source.options}
        table = _from_table(root / TABLE, given)
        if every:
            table = _with_all(table, root / TABLE_OF_ALL, given)
        wanted = _all_of(table.names) if every else ATTRIBUTES
        data = dataset_of_attributes(table, wanted, source, [root, root / "images"], {})
        data = data.with_notes(f"The splits are those of {TABLE}, not a published partition.")
        return _without(data, source.options["leave_out"], source) if "leave_out" in source.options else data
    if "leave_out" in source.options:
        raise LabelwiseError(
            f"leave_out={source.options['leave_out']} for the published files",
            f"a folder with {TABLE} and images/SUBSET/",
            "remove leave_out=",
        )
    index = index_of(root, root / "PETA.mat", _from_mat, zero_shot)
    published = PUBLISHED["peta-zs" if zero_shot else "peta"]
    wanted = _all_of(index.names) if every else ATTRIBUTES
    return dataset_of_attributes(index, wanted, source, [root / "images"], published)


def _all_of(names: Sequence[str]) -> Attributes:
    """Every attribute of a file, in its order, by region of the body."""
    regions = tuple(tuple(name for name in names if name.startswith(starts)) for starts in _PREFIXES)
    ages = tuple(name for name in names if name.startswith(("personalLess", "personalLarger")))
    return Attributes(tuple(names), regions, {"age": ages})


def _with_all(table: Index, file: Path, given: Mapping[str, str]) -> Index:
    """The index of a table with the attributes of another one, in the order of its own images."""
    if not file.is_file():
        raise LabelwiseError(
            f"attributes=all without {file}", "all attributes beside the table", "remove attributes="
        )
    rows = read_csv(Source("csv", str(file), {**given, "missing": "skip"}))
    place = {name: row for row, name in enumerate(rows.images.to_pylist())}
    lacking = [name for name in table.images if name not in place]
    if lacking:
        raise LabelwiseError(
            f"{file} without {len(lacking):,} images of {table.file.name}, such as {lacking[0]}",
            "a row for each image",
            "add them, or remove attributes=",
        )
    order = [place[name] for name in table.images]
    states = np.where(rows.known, rows.values.astype(np.uint8), UNKNOWN)[order]
    return replace(table, file=file, names=rows.labels.names, states=states)


def _from_table(file: Path, given: Mapping[str, str]) -> Index:
    """The index of a table with splits, and with persons if it has groups; `given` says where images are."""
    rows = read_csv(Source("csv", str(file), dict(given)))
    if rows.split_of is None:
        raise LabelwiseError(f"{file} without splits", "a column split: train, val or test", "add it")
    if rows.group is not None:
        _refuse_divided(rows, rows.group, rows.split_of, file)
    splits = {name: np.flatnonzero(rows.split_of == code) for code, name in enumerate(rows.split_names)}
    states = np.where(rows.known, rows.values.astype(np.uint8), UNKNOWN)
    return Index(file, rows.images.to_pylist(), rows.labels.names, states, splits, rows.group)


def _refuse_divided(rows: Dataset, person: np.ndarray, split: np.ndarray, file: Path) -> None:
    """Raise `LabelwiseError` for a person in two splits: test persons would be known from training."""
    persons, splits = np.unique(np.unique(np.stack([person, split]), axis=1)[0], return_counts=True)
    if (splits > 1).any():
        row = int(np.flatnonzero(person == persons[splits > 1][0])[0])
        raise LabelwiseError(
            f"{file}: persons in two splits, {int((splits > 1).sum()):,} of them, such as that of {rows.image_id(row)}",
            "each person in one split",
            f"give each person one split, or read the table as it is with csv:{file}",
        )


def _without(data: Dataset, subset: str, source: Source) -> Dataset:
    """Train and val without a subset's images, and of test these alone."""
    subsets = np.array([PurePosixPath(name).parent.name for name in data.image_ids(np.arange(len(data)))])
    in_subset, test = subsets == subset, np.zeros(len(data), bool)
    test[data.rows_of("test")] = True
    kept = in_subset == test
    if not (in_subset & test).any() or not (kept & ~test).any():
        listed = ", ".join(sorted(set(subsets[test])))
        raise LabelwiseError(
            f"leave_out={subset} in {str(source)!r}",
            f"one of several subsets with test images: {listed}",
            "correct the option",
        )
    note = f"Without {subset}: train and val have none of its images, and the test split is of these alone."
    return data.take(kept).with_notes(note)


def _from_mat(file: Path) -> Index:
    """The index of the official MATLAB file."""
    struct = read_mat(file, "peta")
    table, names = np.asarray(entry(struct, "data", 0, file)), texts(entry(struct, "attribute", 1, file))
    if table.ndim != 2:
        raise LabelwiseError(f"{file}: data in {table.ndim} dimensions", "a matrix", "fetch the file again")
    images = len(table)
    states = integer_matrix(table[:, DESCRIPTORS:], images, len(names), "the attributes", file)
    partition = entry(struct, "partition", 3, file)
    splits = partition_rows(partition, ("train", "val", "test"), images, file)
    return Index(file, [f"{i + 1:05d}.png" for i in range(images)], names, states, splits)
