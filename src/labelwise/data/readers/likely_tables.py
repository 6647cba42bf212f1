"""Selects likely tables of labels in a folder, and tables in folders of splits."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from labelwise.data.imagefiles import is_clutter
from labelwise.data.readers.roles import roles_of
from labelwise.data.readers.split_names import canonical
from labelwise.data.readers.states import is_states
from labelwise.data.source import Source
from labelwise.errors import LabelwiseError

Table = tuple[str, Path]
"""Its kind and its file."""
_HEAD = 1 << 16  # bytes of a table that are read
_EXAMPLE = re.compile(r"(?<![a-z])(submission|example)(?![a-z])", re.IGNORECASE)
"""Names of files that show the format of answers without any labels."""
OF_SPLITS = ("csv", "parquet", "jsonl")
"""Kinds that accept one file per split."""


def may_hold_labels(table: Table) -> bool:
    """Whether a table may hold the labels; the first rows of a CSV must hold an image, and names or states."""
    kind, file = table
    if _EXAMPLE.search(file.stem):
        return False
    if kind != "csv":
        return True
    with file.open("rb") as stream:
        head = stream.read(_HEAD).decode("utf-8-sig", errors="replace")
    lines = head.splitlines()[: -1 if len(head) >= _HEAD else None]
    delimiter = max(",;\t|", key=lambda delimiter: lines[0].count(delimiter)) if lines else ","
    try:
        header, *rows = [row for row in csv.reader(lines, delimiter=delimiter) if row]
        cells = pa.table(
            [pa.array([row[j] if j < len(row) else "" for row in rows]) for j in range(len(header))], header
        )
        roles = roles_of(cells, Source(kind, str(file)))
    except (LabelwiseError, csv.Error, ValueError, KeyError):
        return False
    return bool(roles.names) or bool(roles.states and all(is_states(cells[name]) for name in roles.states))


def tables_of_splits(folder: Path, kind_of: Callable[[Path], str | None]) -> str | None:
    """The SOURCE of the tables if each of several split folders holds one table of the same kind, else `None`.

    Args:
        folder: parent of the folders of splits.
        kind_of: returns the kind of a file, if it has one.
    """
    chosen: list[Table] = []
    split_folders = sorted(f for f in folder.iterdir() if f.is_dir() and canonical(f.name))
    for split in split_folders:
        files = sorted(f for f in split.iterdir() if f.is_file() and not is_clutter(f.name))
        tables = [(kind, f) for f in files if (kind := kind_of(f)) in OF_SPLITS and kind is not None]
        if len(tables) != 1:
            return None
        chosen += tables
    if len(chosen) < 2 or len({kind for kind, _ in chosen}) > 1 or "," in str(folder):
        return None
    return f"{chosen[0][0]}:{','.join(str(file) for _, file in chosen)}"
