"""Arguments and results of writers, and the messages on content that a form cannot represent."""

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
"""Name of the part with the rows in no split; readers of tables map it to no split."""


@dataclass(frozen=True)
class Job:
    """A data set to write.

    Args:
        data: the rows, with the label states to write.
        out: the file or folder to write.
        images: `paths` refers to the image files, `copy` copies them next to the labels, `embed` stores them in the
            table.
        predictions: a file that `labelwise predict --out` wrote, or `None`.
        url_prefix: prefix of the path of an image below its root, or `None`.
        tick: called with the number of images done.
    """

    data: Dataset
    out: Path
    images: str = "paths"
    predictions: Path | None = None
    url_prefix: str | None = None
    tick: Callable[[int], None] = lambda done: None


@dataclass(frozen=True)
class Written:
    """The result of a writer.

    Args:
        out: the file or folder.
        files: files of labels, relative to `out` if it is a folder, else to its folder.
        notes: omitted content and decisions, one sentence each.
        source: for `labelwise.read`; `None` for a form that it does not read.
    """

    out: Path
    files: tuple[str, ...]
    notes: tuple[str, ...] = ()
    source: Source | None = None


def parts_by_split(data: Dataset) -> Iterator[tuple[str, np.ndarray]]:
    """Name and row numbers of each non-empty split, then of the rows in none; one unnamed part without splits.

    Raises:
        LabelwiseError: a split with the name for rows in none.
    """
    if data.split_of is None:
        yield "", np.arange(len(data))
        return
    codes = np.asarray(data.split_of)
    for code, name in enumerate(data.split_names):
        rows = np.flatnonzero(codes == code)
        if name == UNASSIGNED and len(rows) and (codes < 0).any():
            raise LabelwiseError(
                f"a split called {name!r} besides rows in no split", "another name", "rename the split"
            )
        if len(rows):
            yield name, rows
    rows = np.flatnonzero(codes < 0)
    if len(rows):
        yield UNASSIGNED, rows


def refuse_split(split: str, pattern: str, expected: str) -> None:
    """Raises `LabelwiseError` for a split with an invalid name, as files are named after it."""
    if split and not re.fullmatch(pattern, split):
        raise LabelwiseError(
            f"a split called {split!r}, after which a file is named", expected, "rename the split"
        )


def lost_parts(data: Dataset, form: str, *parts: str) -> list[str]:
    """A sentence for each part of a data set that a form does not support.

    Args:
        data: the rows.
        form: its name in messages.
        parts: some of `boxes`, `groups` (of rows), `sets` (groups of labels).
    """
    present = {
        "boxes": data.boxes is not None and bool(pc.sum(pc.list_value_length(data.boxes)).as_py()),
        "groups": data.group is not None,
        "sets": bool(data.labels.groups),
    }
    name = {"boxes": "Boxes", "groups": "Groups of rows", "sets": "Groups of labels"}
    return [f"{name[part]} are left out of {form}." for part in parts if present[part]]


def refuse_shares(data: Dataset, form: str) -> None:
    """Raises `LabelwiseError` for soft labels in a form that supports only present and absent."""
    soft = data.known & (data.values > 0) & (data.values < 1)
    if soft.any():
        raise LabelwiseError(
            f"{int(soft.sum()):,} labels that are shares between 0 and 1, for {form}",
            "labels that are present or absent",
            "add --threshold SHARE, or write .csv or .parquet, which hold shares",
        )
