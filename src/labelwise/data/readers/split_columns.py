"""Columns `train`, `val` and `test` of 0 and 1, of which each row holds a single 1, as one column of splits."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from labelwise.data.readers.cells import number
from labelwise.data.readers.roles import SPLIT, key
from labelwise.data.readers.split_names import SPLITS, canonical
from labelwise.data.readers.states import Column
from labelwise.data.source import Source


def joined_splits(table: pa.Table, source: Source, notes: list[str]) -> pa.Table:
    """The table with a column `split` in place of a column a split; as it is where there are none.

    Args:
        table: with plain columns.
        source: an option that names the split, or one of these columns, keeps them.
        notes: takes a sentence where they are joined.
    """
    names = [name for name in table.column_names if canonical(name) in SPLITS]
    told = {option for o in ("labels", "classes", "image", "group") for option in source.names(o)}
    if "split" in source.options or told & set(names) or any(key(n) in SPLIT for n in table.column_names):
        return table
    splits = [canonical(name) for name in names]
    if len(names) < 2 or len(set(splits)) < len(splits):
        return table
    columns = [Column.of(name, table[name]) for name in names]
    flags = []
    for column in columns:
        values = np.array([number(cell) if number(cell) is not None else np.nan for cell in column.cells])
        flags.append(values[column.codes])
    cells = np.stack(flags, 1)
    if not (np.isin(cells, (0, 1)).all() and (cells.sum(1) == 1).all()):
        return table
    notes.append(
        f"Each row holds a single 1 in the columns {', '.join(names)}: they are read as the split; if they are labels, "
        "add ?split=."
    )
    words = np.array(splits, object)[cells.argmax(1)]
    return table.drop_columns(names).append_column("split", pa.array(words, pa.string()))
