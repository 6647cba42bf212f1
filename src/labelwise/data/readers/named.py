"""Tables whose label names are listed beside them, or whose images lie in an archive."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from labelwise.data.archives import ImageStore
from labelwise.data.dataset import Dataset
from labelwise.data.readers.columns import NAMES_COLUMNS, dataset_of
from labelwise.data.source import Source
from labelwise.types import LabelSet


def dataset_of_names(
    table: pa.Table,
    every: Mapping[str, Sequence[str]],
    source: Source,
    folder: Path,
    row_name: Callable[[int], str],
    stored: tuple[pa.Array, ImageStore] | None = None,
) -> Dataset:
    """The data set of a table, with a label for each listed name, also for one without a positive.

    A list of names, or a class, that is null is unknown; an empty list says that every label is absent.

    Args:
        table: as `columns.dataset_of` takes it.
        every: all names of a column of names, in their order.
        source, folder, row_name: as there.
        stored: name of each row's image and the store that holds them, in place of an image column.

    Raises:
        LabelwiseError: as there.
    """
    if stored is not None:
        content = pa.array(
            [b""] * table.num_rows, pa.large_binary()
        )  # stands for images that are in the store
        title = "image" if "image" not in table.column_names else "image bytes"
        table = table.add_column(0, title, content)
    data = dataset_of(table, source, folder, row_name)
    column = next((name for name in table.column_names if name.lower() in NAMES_COLUMNS), None)
    if column is not None:
        data = _with_names(data, every.get(column, ()))
        if (column in every or _is_list(table[column].type)) and table[column].null_count:
            data = _unanswered(data, table, column)
    return data if stored is None else replace(data, images=stored[0], store=stored[1])


def _with_names(data: Dataset, names: Sequence[str]) -> Dataset:
    """The data set with all names in their order; what is added is absent where the row is known."""
    if not set(data.labels.names) < set(names):
        return data.with_labels(names) if set(data.labels.names) == set(names) else data
    values = np.zeros((len(data), len(names)), data.values.dtype)
    known = np.repeat(data.known.any(1)[:, None], len(names), 1)
    column = {name: j for j, name in enumerate(names)}
    place = [column[name] for name in data.labels.names]
    values[:, place], known[:, place] = data.values, data.known
    return replace(data, labels=LabelSet(tuple(names), data.labels.groups), values=values, known=known)


def _unanswered(data: Dataset, table: pa.Table, column: str) -> Dataset:
    """The data set with rows unknown whose list of names is null."""
    missing = np.asarray(table[column].is_null())
    if len(data) < len(missing):  # rows of one image were merged
        image = next(name for name in table.column_names if name == "image")
        answered = set(table[image].filter(pa.array(~missing)).to_pylist())
        missing = np.array([name not in answered for name in data.images.to_pylist()], bool)
    if not data.known[missing].any():
        return data
    known = data.known & ~missing[:, None]
    values = np.where(known, data.values, np.zeros_like(data.values))
    note = f"{int(missing.sum()):,} rows without labels are all-unknown."
    return replace(data, values=values, known=known).with_notes(note)


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind)
