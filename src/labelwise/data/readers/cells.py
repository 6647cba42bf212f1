"""Cells of a table as label states: 1, 0, a share between, or unknown."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelwise.errors import LabelwiseError

_BLANK = frozenset({"", "nan", "null", "none", "na", "n/a"})


def state(cell: Any, unknown: Collection[str] = ()) -> float:
    """Value of a cell: a number in [0, 1], or NaN for unknown (blank, NaN, or one of the texts in `unknown`).

    Raises:
        ValueError: for anything else.

    >>> state("1"), state(" 0.25 "), state(None)
    (1.0, 0.25, nan)
    """
    text = "" if cell is None else str(cell).strip()
    if text.lower() in _BLANK or text in unknown:
        return math.nan
    value = float(cell) if isinstance(cell, bool | int | float) else float(text)
    if not 0 <= value <= 1 or "_" in text:  # Python's numbers may hold underscores; those of tables may not
        raise ValueError(text)
    return value


def states(
    column: pa.ChunkedArray, name: str, row_name: Callable[[int], str], unknown: Collection[str] = ()
) -> np.ndarray:
    """`[N]` float32 states of a column, NaN where unknown.

    Args:
        column: the cells, of any type.
        name: the column's name, for messages.
        row_name: how to name a row in a message.
        unknown: further texts that stand for unknown.

    Raises:
        LabelwiseError: for a column of another kind, or a cell that is no state: row, column and value.
    """
    try:
        coded = plain(column).dictionary_encode()
        cells = coded.dictionary.to_pylist()
    except (pa.ArrowException, ValueError, OverflowError):
        raise LabelwiseError(
            f"column {name!r} of type {column.type}",
            "1, 0 or blank (unknown) in every column but image, split and group",
            f"leave the column out with ?ignore={name}",
        ) from None
    values, wrong = np.full(len(cells) + 1, np.nan, np.float32), []
    for code, cell in enumerate(cells):
        try:
            values[code] = state(cell, unknown)
        except (ValueError, TypeError):
            wrong.append(code)
    codes = coded.indices.fill_null(len(cells)).to_numpy(zero_copy_only=False)
    if wrong:
        row = int(np.flatnonzero(np.isin(codes, wrong))[0])
        shown = _short(cells[codes[row]])
        if np.isnan(values).all():
            raise LabelwiseError(
                f"column {name!r} holds no label states: {shown} in {row_name(row)}",
                "1, 0 or blank (unknown) in every column but image, split and group",
                f"leave the column out with ?ignore={name}",
            )
        raise LabelwiseError(
            f"{row_name(row)}, column {name!r}: {shown}",
            "1, 0, blank (unknown) or a share in between",
            "correct the cell, or read such cells as unknown with ?unknown=TEXT",
        )
    return values[codes]


def plain(column: pa.ChunkedArray) -> pa.Array:
    """One array of a column's cells; dictionary and text columns become plain text without outer blanks."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks)
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        return pc.utf8_trim_whitespace(array)
    return array


def _short(cell: Any) -> str:
    text = repr(cell)
    return text if len(text) <= 40 else text[:37] + "...'"


def named_labels(column: pa.ChunkedArray, separator: str | None) -> tuple[list[list[str]], str | None]:
    """Label names of each cell, and the separator that was found.

    Args:
        column: texts such as `dog;person`, or lists of names.
        separator: what stands between names; `None`: the first of `;`, `|` and `,` that occurs anywhere, else
            each cell is one name (blanks belong to names such as `traffic light`).
    """
    cells = plain(column).to_pylist()
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        return [[str(name).strip() for name in cell or ()] for cell in cells], None
    texts = ["" if cell is None else str(cell) for cell in cells]
    if separator is None:
        separator = next((mark for mark in ";|," if any(mark in text for text in texts)), None)
    split = [text.split(separator) if separator else [text] for text in texts]
    return [[name.strip() for name in names if name.strip()] for names in split], separator


def indicator(named: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], np.ndarray]:
    """Sorted names and the `[N, L]` uint8 matrix of which row names which.

    >>> indicator([["dog"], ["cat", "dog"]])
    (('cat', 'dog'), array([[0, 1],
           [1, 1]], dtype=uint8))
    """
    names = tuple(sorted({name for row in named for name in row}))
    column = {name: j for j, name in enumerate(names)}
    values = np.zeros((len(named), len(names)), np.uint8)
    rows = np.repeat(np.arange(len(named)), [len(row) for row in named])
    values[rows, [column[name] for row in named for name in row]] = 1
    return names, values
