"""What a writer takes and returns, and the sentences on what a form cannot hold."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from labelwise.data.dataset import Dataset
from labelwise.data.source import Source
from labelwise.errors import LabelwiseError

UNASSIGNED = "unassigned"
"""Name of the part that holds the rows of no split; readers of tables take it for no split."""


@dataclass(frozen=True)
class Job:
    """A data set to write.

    Args:
        data: the rows; label states as they are to be written.
        out: the file or folder to write.
        images: `paths` refers to the image files where they are, `copy` puts copies beside the labels, `embed` puts
            them into the table.
        predictions: a file that `labelwise predict --out` wrote, or `None`.
        url_prefix: what stands before the path of an image below its root, or `None`.
        tick: takes the number of images done.
    """

    data: Dataset
    out: Path
    images: str = "paths"
    predictions: Path | None = None
    url_prefix: str | None = None
    tick: Callable[[int], None] = lambda done: None


@dataclass(frozen=True)
class Written:
    """What a writer wrote.

    Args:
        out: the file or folder.
        files: files of labels, relative to the folder of `out` where it is a file, to `out` where it is a folder.
        notes: what the form does not hold, and what was decided, one plain sentence each.
        source: how `labelwise.read` reads it back; `None` for a form that it does not read.
    """

    out: Path
    files: tuple[str, ...]
    notes: tuple[str, ...] = ()
    source: Source | None = None


def parts_by_split(data: Dataset) -> Iterator[tuple[str, np.ndarray]]:
    """Name and row numbers of each split that has rows, then of the rows in none; one nameless part without splits.

    Raises:
        LabelwiseError: a split with the name of the rows in none.
    """
    if data.split_of is None:
        yield "", np.arange(len(data))
        return
    codes = np.asarray(data.split_of)
    for code, name in enumerate(data.split_names):
        rows = np.flatnonzero(codes == code)
        if name == UNASSIGNED and len(rows) and (codes < 0).any():
            raise LabelwiseError(
                f"a split called {name!r} beside rows in no split", "another name", "rename the split"
            )
        if len(rows):
            yield name, rows
    rows = np.flatnonzero(codes < 0)
    if len(rows):
        yield UNASSIGNED, rows


def refuse_split(split: str, pattern: str, expected: str) -> None:
    """Raises `LabelwiseError` for a split whose name does not match, as files are named after it."""
    if split and not re.fullmatch(pattern, split):
        raise LabelwiseError(
            f"a split called {split!r}, after which a file is named", expected, "rename the split"
        )


def left_out(data: Dataset, form: str, *parts: str) -> list[str]:
    """A sentence for each part of a data set that a form does not hold.

    Args:
        data: the rows.
        form: its name for people.
        parts: some of `boxes`, `groups` (of rows), `sets` (groups of labels).
    """
    has = {
        "boxes": data.boxes is not None and bool(pc.sum(pc.list_value_length(data.boxes)).as_py()),
        "groups": data.group is not None,
        "sets": bool(data.labels.groups),
    }
    name = {"boxes": "Boxes", "groups": "Groups of rows", "sets": "Groups of labels"}
    return [f"{name[part]} are left out of {form}." for part in parts if has[part]]


def refuse_shares(data: Dataset, form: str) -> None:
    """Raises `LabelwiseError` for soft labels in a form that knows present and absent alone."""
    soft = data.known & (data.values > 0) & (data.values < 1)
    if soft.any():
        raise LabelwiseError(
            f"{int(soft.sum()):,} labels that are shares between 0 and 1, for {form}",
            "labels that are present or absent",
            "add --threshold SHARE, or write .csv or .parquet, which hold shares",
        )
