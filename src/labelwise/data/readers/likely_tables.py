"""Which of several tables in a folder may hold the labels, and tables that lie in folders of splits."""

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
_HEAD = 1 << 16  # bytes of a table that are looked at
_EXAMPLE = re.compile(r"(?<![a-z])(submission|example)(?![a-z])", re.IGNORECASE)
"""Words of files that show how answers are to be written, and hold none."""
OF_SPLITS = ("csv", "parquet", "jsonl")
"""Kinds that take a file for each split."""


def may_hold_labels(table: Table) -> bool:
    """Whether a table may be that of the labels; of a CSV the first rows must hold an image, and names or states."""
    kind, file = table
    if _EXAMPLE.search(file.stem):
        return False
    if kind != "csv":
        return True
    with file.open("rb") as opened:
        head = opened.read(_HEAD).decode("utf-8-sig", errors="replace")
    lines = head.splitlines()[: -1 if len(head) >= _HEAD else None]
    mark = max(",;\t|", key=lambda mark: lines[0].count(mark)) if lines else ","
    try:
        header, *rows = [row for row in csv.reader(lines, delimiter=mark) if row]
        cells = pa.table(
            [pa.array([row[j] if j < len(row) else "" for row in rows]) for j in range(len(header))], header
        )
        roles = roles_of(cells, Source(kind, str(file)))
    except (LabelwiseError, csv.Error, ValueError, KeyError):
        return False
    return bool(roles.names) or bool(roles.states and all(is_states(cells[name]) for name in roles.states))


def tables_of_splits(folder: Path, kind_of: Callable[[Path], str | None]) -> str | None:
    """The SOURCE of one table in each of several folders that are called by splits; `None` where it is otherwise.

    Args:
        folder: that holds the folders of splits.
        kind_of: the kind of a file, if it has one.
    """
    found: list[Table] = []
    inner = sorted(f for f in folder.iterdir() if f.is_dir() and canonical(f.name))
    for split in inner:
        files = sorted(f for f in split.iterdir() if f.is_file() and not is_clutter(f.name))
        tables = [(kind, f) for f in files if (kind := kind_of(f)) in OF_SPLITS and kind is not None]
        if len(tables) != 1:
            return None
        found += tables
    if len(found) < 2 or len({kind for kind, _ in found}) > 1 or "," in str(folder):
        return None
    return f"{found[0][0]}:{','.join(str(file) for _, file in found)}"
