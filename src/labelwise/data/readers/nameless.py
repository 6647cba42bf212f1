"""Removes columns and rows without data from a table: an index that a tool added, blank columns, blank last rows."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelwise.data.readers.arrow import one_array
from labelwise.data.readers.roles import IMAGE, key, share_of_images
from labelwise.data.readers.states import Column
from labelwise.data.readers.totals import without_total
from labelwise.data.source import Source
from labelwise.errors import LabelwiseError

_NAMELESS = re.compile(r"|unnamed:.*|__index_level_\d+__", re.IGNORECASE | re.DOTALL)
"""Names that pandas uses for the column of an index without a name, when it reads and when it writes."""

_PREDICTED = ["image", "error", "selected"]
"""The first columns of a table of `labelwise predict --out`."""


def wanted_columns(table: pa.Table, source: Source, notes: list[str]) -> pa.Table:
    """The table without an index, blank nameless columns, blank last rows, and columns of the option `ignore`.

    Raises:
        LabelwiseError: two columns of the same name, a column without a name, or an option `ignore` without a match.
    """
    names = [name.strip() for name in table.column_names]
    nameless = [_NAMELESS.fullmatch(name) is not None for name in names]
    filled = [i for i, no_name in enumerate(nameless) if not (no_name and _is_empty(table.column(i)))]
    if len(filled) < len(names):
        notes.append(f"{len(names) - len(filled)} columns without a name and without a cell were left out.")
    others = [i for i in filled if not nameless[i]]
    # An index comes first, or has a name that pandas sets.
    first = others[0] if others else 0
    index = [i for i in filled if nameless[i] and (i < first or names[i]) and names[i] not in _named(source)]
    index = [i for i in index if others and _is_index(table.column(i), any(map(_image_test(table), others)))]
    if index:
        single = "The first column has no name and only counts the rows: it was left out."
        plural = "Columns without a name only count the rows: they were left out."
        notes.append(single if index == [0] else plural)
    kept = [i for i in filled if i not in index] or list(range(len(names)))
    table, names = table.select(kept), [names[i] for i in kept]
    if not names[0] and "image" not in map(str.casefold, names) and share_of_images(table.column(0)) > 0.5:
        names[0] = "image"
        notes.append("The first column has no name and holds names of images.")
    for name in names:
        if not name or names.count(name) > 1:
            given = f"column {name!r} twice" if name else f"column {names.index(name) + 1} without a name"
            todo = (
                "write distinct names in the first line"
                if name
                else "name it in the first line, or remove it"
            )
            raise LabelwiseError(f"{source.path}: {given}", "a first line of distinct column names", todo)
    table = without_total(_without_blank_end(table.rename_columns(names), notes), source, notes)
    ignored = source.names("ignore")
    if names[:3] == _PREDICTED and not {"labels", "classes"} & source.options.keys() and not ignored:
        advice = "" if _is_empty(table["error"]) else "remove the rows with an error, and "
        raise LabelwiseError(
            f"{source.path}: a table of scores, written by labelwise predict",
            "labels",
            f"{advice}add ?labels=selected to read the selected names",
        )
    source.names_among("ignore", names, f"columns of {source.path}:")
    return table.drop_columns(ignored) if ignored else table


def _named(source: Source) -> set[str]:
    """Names of the columns that options name."""
    return {name for option in ("image", "labels", "ignore", "group") for name in source.names(option)}


def _image_test(table: pa.Table) -> Callable[[int], bool]:
    """A function that returns whether a column, by its number, names images."""
    return lambda i: key(table.column_names[i]) in IMAGE or share_of_images(table.column(i)) > 0.5


def _is_empty(column: pa.ChunkedArray) -> bool:
    """Whether all cells of a column are null or blank."""
    return column.null_count == len(column) or not Column.of("", column).present()


def _is_index(column: pa.ChunkedArray, beside_images: bool) -> bool:
    """Whether cells count from 0 or 1, or are distinct whole numbers beside a column of images."""
    try:
        numbers = one_array(column).cast(pa.int64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return False
    if numbers.null_count:
        return False
    if any(np.array_equal(numbers, np.arange(start, start + len(numbers))) for start in (0, 1)):
        return True
    return beside_images and pc.count_distinct(numbers).as_py() == len(numbers)


def _is_blank_cell(cell: pa.Scalar) -> bool:
    """Whether a cell is null or a text of blanks."""
    value = cell.as_py() if cell.is_valid else ""
    return isinstance(value, str) and not value.strip()


def _without_blank_end(table: pa.Table, notes: list[str]) -> pa.Table:
    """The table without the blank rows that spreadsheets write below it."""
    rows = table.num_rows
    while rows and all(_is_blank_cell(column[rows - 1]) for column in table.columns):
        rows -= 1
    if 0 < rows < table.num_rows:
        notes.append(f"{table.num_rows - rows:,} blank rows at the end were left out.")
        return table.slice(0, rows)
    return table
