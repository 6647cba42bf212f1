"""One-hot columns `train`, `val` and `test` as one column of splits."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from labelwise.data.readers.cells import number
from labelwise.data.readers.roles import SPLIT, key
from labelwise.data.readers.split_names import SPLITS, canonical
from labelwise.data.readers.states import Column
from labelwise.data.source import Source


def joined_splits(table: pa.Table, source: Source, notes: list[str]) -> pa.Table:
    """The table with a column `split` in place of one-hot columns per split; unchanged without such columns.

    Args:
        table: with plain columns.
        source: an option for the split, or with the name of one of these columns, keeps them.
        notes: receives a sentence if the columns are joined.
    """
    names = [name for name in table.column_names if canonical(name) in SPLITS]
    assigned = {name for option in ("labels", "classes", "image", "group") for name in source.names(option)}
    if "split" in source.options or assigned & set(names) or any(key(n) in SPLIT for n in table.column_names):
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
    split_of_row = np.array(splits, object)[cells.argmax(1)]
    return table.drop_columns(names).append_column("split", pa.array(split_of_row, pa.string()))
