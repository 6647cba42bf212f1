"""Arrays of cells in a file, with the image ids and label names of their rows and columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from labelwise.data.dataset import Dataset
from labelwise.data.npz import read_npz
from labelwise.errors import LabelwiseError


def save_cells(file: str | Path, name: str, cells: Shaped[np.ndarray, "N L"], data: Dataset) -> None:
    """Writes `[N, L]` cells as a compressed npz: `ids` [N], `labels` [L] and the cells under `name`.

    Args:
        file: to write; no suffix is added.
        name: of the array, such as `known` or `scores`.
        cells: one row per image and one column per label of `data`, in their order.
        data: the data set of the cells.

    Raises:
        LabelwiseError: cells of another shape.
    """
    if cells.shape != (len(data), len(data.labels)):
        raise LabelwiseError(
            f"{name} of shape {list(cells.shape)} for {len(data)} images and {len(data.labels)} labels",
            f"the shape {[len(data), len(data.labels)]}",
            "give one row per image and one column per label",
        )
    arrays = {"ids": ids_of(data), "labels": np.array(data.labels.names, dtype=str), name: cells}
    with open(file, "wb") as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]


def read_cells(file: str | Path, name: str, data: Dataset) -> Shaped[np.ndarray, "N L"]:
    """The cells of a data set's images and labels, by their names; the file may contain others, in any order.

    Args:
        file: of `save_cells`, or an npz with the same arrays.
        name: of the array.
        data: the data set of the cells.

    Returns:
        `[N, L]` in the order of `data`.

    Raises:
        LabelwiseError: no such file, another structure, or a missing image or label.
    """
    expected = f"an npz with {name} [images, labels], ids [images] and labels [labels]"
    try:
        cells, ids, labels = read_npz(file, (name, "ids", "labels"))
    except ValueError as error:
        raise LabelwiseError(f"{file} ({error})", expected, "check the path and the file") from None
    if ids.ndim != 1 or labels.ndim != 1 or cells.shape != (len(ids), len(labels)):
        raise LabelwiseError(f"{file} with {name} of shape {list(cells.shape)}", expected, "write it again")
    rows = _positions(ids, ids_of(data), file, "images")
    columns = _positions(labels, np.array(data.labels.names, dtype=str), file, "labels")
    return cells[rows][:, columns]


def ids_of(data: Dataset) -> Shaped[np.ndarray, " N"]:
    """Image ids as text."""
    return np.array([data.image_id(i) for i in range(len(data))], dtype=str)


def _positions(
    names: Shaped[np.ndarray, " M"], requested: Shaped[np.ndarray, " N"], file: str | Path, noun: str
) -> Shaped[np.ndarray, " N"]:
    """The position of each requested name among `names`; raises `LabelwiseError` for a missing or repeated one."""
    positions = {text: i for i, text in enumerate(map(str, names))}
    if len(positions) < len(names):
        raise LabelwiseError(f"{file} with repeated {noun}", f"distinct {noun}", "write it again")
    missing = [text for text in map(str, requested) if text not in positions]
    if missing:
        raise LabelwiseError(
            f"{file} without {len(missing):,} of {len(requested):,} {noun}, {missing[0]!r} the first",
            f"all {noun} of these data",
            "use the file that was written for these data",
        )
    return np.array([positions[str(text)] for text in requested], dtype=np.int64)
