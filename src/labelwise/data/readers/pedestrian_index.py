"""The pickled index of pedestrian attribute data sets that published code uses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from labelwise.data.readers.attributes import Index
from labelwise.data.readers.matlab import checked_rows, whole
from labelwise.data.readers.unpickle import read_pickle
from labelwise.errors import LabelwiseError, first_line

WHOLE, ZERO_SHOT = "dataset_all.pkl", "dataset_zs_run0.pkl"


def index_of(root: Path, mat: Path, from_mat: Callable[[Path], Index], zero_shot: bool) -> Index:
    """Reads the index of a folder: the pickled one of its zero-shot split; else the MATLAB file, or its pickle."""
    if zero_shot:
        return read_index(root / ZERO_SHOT)
    return read_index(root / WHOLE) if not mat.is_file() and (root / WHOLE).is_file() else from_mat(mat)


def read_index(file: Path) -> Index:
    """The index of a pickle with `image_name`, `label`, `attr_name` and `partition`; its first partition is used.

    The folder in such a file is on its author's machine and is ignored.

    Raises:
        LabelwiseError: a pickle that could run code, or one without these parts in agreeing sizes.
    """
    content = read_pickle(file)
    try:
        return _index(content, file)
    except LabelwiseError:
        raise
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, OverflowError) as error:
        raise LabelwiseError(
            f"{file} ({type(error).__name__}: {first_line(error)})",
            "the pickled index",
            "fetch the file again",
        ) from None


def _index(content: Any, file: Path) -> Index:
    """The checked content of a pickled index."""
    keys = ("image_name", "label", "attr_name", "partition")
    gaps = [key for key in keys if not isinstance(content, dict) or key not in content]
    if gaps:
        raise LabelwiseError(f"{file} without {', '.join(gaps)}", "the pickled index", "fetch the file again")
    states = np.asarray(content["label"])
    names = [str(name) for name in np.asarray(content["attr_name"]).tolist()]
    images = [_name(str(image)) for image in content["image_name"]]
    if states.shape != (len(images), len(names)):
        shape = " x ".join(map(str, states.shape))
        raise LabelwiseError(
            f"{file}: label of {shape}",
            f"{len(images)} x {len(names)}, one row per image and one column per attr_name",
            "fetch the file again",
        )
    partition = content["partition"]
    splits = {
        name: checked_rows(_first(partition[name], file), len(images), f"partition.{name}", file)
        for name in ("train", "val", "test")
        if isinstance(partition, dict) and len(partition.get(name, ()))
    }
    if "test" not in splits:
        raise LabelwiseError(f"{file} without partition.test", "the pickled index", "fetch the file again")
    if "train" not in splits and len(partition.get("trainval", ())):
        rows = checked_rows(_first(partition["trainval"], file), len(images), "partition.trainval", file)
        splits = {"train": rows, **splits}
    return Index(file, images, names, whole(states, "label", file), splits)


def _name(image: str) -> str:
    """A relative path as it is; the file name of an absolute path."""
    path = PurePosixPath(image.replace("\\", "/"))
    return path.name if path.is_absolute() or ".." in path.parts else str(path)


def _first(rows: Any, file: Path) -> np.ndarray:
    """Row numbers of the first partition: the list itself, or its first element where it is a list of lists."""
    if len(rows) and isinstance(rows[0], list | np.ndarray):
        rows = rows[0]
    return whole(np.asarray(rows).reshape(-1), "partition", file)
