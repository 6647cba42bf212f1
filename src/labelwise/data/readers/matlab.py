"""MATLAB files: variables, fields of structs, cells of text; errors name what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from labelwise.data.readers.matlab_layout import check_layout
from labelwise.errors import LabelwiseError, first_line


def read_mat(file: Path, variable: str) -> Any:
    """One variable of a MATLAB file (version 5 to 7).

    Raises:
        LabelwiseError: no such file or variable, a truncated file, or one of version 7.3.
    """
    from scipy.io import loadmat

    if not file.is_file():
        raise LabelwiseError(f"{file}, which does not exist", "the official annotation file", "add the file")
    with file.open("rb") as stream:
        head = stream.read(128)
    if b"MATLAB 7.3" in head or head.startswith(b"\x89HDF"):
        raise LabelwiseError(
            f"{file} of MATLAB version 7.3", "version 7 or older", "save it again in MATLAB with -v7"
        )
    try:
        check_layout(file)
        variables = loadmat(file, variable_names=[variable])
    except Exception as error:  # a truncated file makes scipy raise nearly anything
        raise LabelwiseError(
            f"{file} ({first_line(error)})", "a whole MATLAB file", "fetch the file again"
        ) from None
    if variable not in variables:
        raise LabelwiseError(
            f"{file} without the variable {variable!r}", "the official annotation file", "fetch it again"
        )
    return variables[variable]


def entry(struct: Any, name: str, place: int, file: Path) -> Any:
    """A field of a 1 x 1 struct by its name, or by its official place if the file uses another name.

    Raises:
        LabelwiseError: the struct has neither.
    """
    element = first(struct)
    names = element.dtype.names if isinstance(element, np.void) else None
    if names and name in names:
        return element[name]
    if names and place < len(names):
        return element[place]
    raise LabelwiseError(
        f"{file} without the field {name!r}", "the official annotation file", "fetch the file again"
    )


def first(values: Any) -> Any:
    """The first element of a cell or struct array, out of any nested arrays; `None` for an empty one."""
    while isinstance(values, np.ndarray):
        if not values.size:
            return None
        values = values.reshape(-1)[0]
    return values


def texts(cells: Any) -> list[str]:
    """Texts of a cell array, in its order."""
    return [str(first(cell)).strip() for cell in np.asarray(cells).reshape(-1)]


def integer_matrix(values: Any, rows: int, columns: int, what: str, file: Path) -> np.ndarray:
    """A matrix of whole numbers of the stated size.

    Raises:
        LabelwiseError: another size, for example with an added column.
    """
    cells = np.asarray(values)
    if cells.shape != (rows, columns):
        shape = " x ".join(map(str, cells.shape))
        raise LabelwiseError(
            f"{file}: {what} of {shape}",
            f"{rows} x {columns}, one row per image and one column per label name",
            "fetch the file again, or remove the added column",
        )
    return whole(cells, what, file)


def whole(values: Any, what: str, file: Path) -> np.ndarray:
    """Numbers as int64; raises `LabelwiseError` for fractions, NaN, and values that are not numbers."""
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise LabelwiseError(f"{file}: {what} of type {array.dtype}", "whole numbers", "fetch the file again")
    odd = ~np.isfinite(array) | (np.floor(array) != array) | (np.abs(array) > 2**53)
    if odd.any():
        raise LabelwiseError(f"{file}: {array[odd][0]} in {what}", "whole numbers", "fetch the file again")
    return array.astype(np.int64)


def partition_rows(cells: Any, fields: Sequence[str], images: int, file: Path) -> dict[str, np.ndarray]:
    """Row numbers from 0 of each split of the first partition; `fields` are its split names, or these with `_index`.

    Raises:
        LabelwiseError: a missing field, or numbers that `row_numbers` refuses.
    """
    splits = {field.removesuffix("_index"): entry(cells, field, i, file) for i, field in enumerate(fields)}
    return {name: row_numbers(rows, images, f"partition 1, {name}", file) for name, rows in splits.items()}


def row_numbers(values: Any, images: int, what: str, file: Path) -> np.ndarray:
    """Row numbers from 0 of a list that counts from 1.

    Raises:
        LabelwiseError: a number out of range, or one twice.
    """
    rows = whole(np.asarray(values).reshape(-1), what, file) - 1
    return checked_rows(rows, images, what, file)


def checked_rows(rows: np.ndarray, images: int, what: str, file: Path) -> np.ndarray:
    """The row numbers if each is in range and occurs once; else raises `LabelwiseError`."""
    if len(rows) and (rows.min() < 0 or rows.max() >= images):
        outside = rows[(rows < 0) | (rows >= images)][0]
        raise LabelwiseError(
            f"{file}: {what} names image {outside + 1}", f"1 to {images}", "fetch the file again"
        )
    if len(np.unique(rows)) != len(rows):
        raise LabelwiseError(f"{file}: {what} names an image twice", "each once", "fetch the file again")
    return rows
