"""Several rows of the same image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyarrow.compute as pc

from labelwise.data.dataset import Dataset
from labelwise.data.readers.name_doubts import few
from labelwise.data.source import Source, WouldLose
from labelwise.errors import LabelwiseError


def merge_repeated(data: Dataset, source: Source, row_name: Callable[[int], str]) -> Dataset:
    """Merges rows of the same image if they agree; contradictory rows raise an error by default.

    With `duplicates=unknown` contradictory cells become unknown; with `duplicates=union` a label is positive if
    any of the rows has it (a table with one row per image and label).

    Args:
        data: the rows as read.
        source: for its option `duplicates`.
        row_name: returns the name of a row for messages.

    Raises:
        LabelwiseError: contradictory labels, or an image in two splits or groups, with its rows.
    """
    policy = source.choice("duplicates", ("stop", "unknown", "union"))
    if data.embedded or pc.all(pc.less(data.images[:-1], data.images[1:])).as_py():
        return data
    codes = _image_codes(data)
    count = np.bincount(codes, minlength=1)
    if count.max() <= 1:
        return data
    rows = np.flatnonzero(count[codes] > 1)
    rows = rows[np.argsort(codes[rows], kind="stable")]
    starts = np.flatnonzero(np.diff(codes[rows], prepend=-1))
    for noun, array in (("splits", data.split_of), ("groups", data.group)):
        if array is not None:
            _refuse_several(data, array, rows, starts, noun, row_name)
    values, known = data.values[rows].astype(np.float32), data.known[rows]
    low = np.minimum.reduceat(np.where(known, values, np.inf), starts)
    high = np.maximum.reduceat(np.where(known, values, -np.inf), starts)
    conflicts = low < high
    conflicts &= np.isfinite(low) & np.isfinite(high)
    if conflicts.any() and policy == "stop":
        raise _contradiction(data, rows, starts, conflicts, row_name)
    is_known = np.isfinite(high) & ~(conflicts & (policy == "unknown"))
    first = rows[starts]
    new_values, new_known = data.values.copy(), data.known.copy()
    new_values[first], new_known[first] = np.where(is_known, high, 0).astype(data.values.dtype), is_known
    merged = replace(data, values=new_values, known=new_known)
    kept = np.ones(len(data), bool)
    kept[np.setdiff1d(rows, first)] = False
    extra = len(rows) - len(first)
    state = {"unknown": "became unknown", "union": "became positive"}.get(policy, "")
    detail = f"; {int(conflicts.sum()):,} cells that contradict each other {state}" if conflicts.any() else ""
    return merged.take(kept).with_notes(
        f"{extra:,} repeated rows were merged into the first of their image{detail}."
    )


def _image_codes(data: Dataset) -> np.ndarray:
    """Equal codes for rows of one image."""
    coded = data.images.dictionary_encode()
    combined = coded.unify_dictionaries().combine_chunks() if hasattr(coded, "chunks") else coded
    return combined.indices.to_numpy(zero_copy_only=False).astype(np.int64)


def _refuse_several(
    data: Dataset,
    array: np.ndarray,
    rows: np.ndarray,
    starts: np.ndarray,
    noun: str,
    row_name: Callable[[int], str],
) -> None:
    """Raises `LabelwiseError` for an image whose rows have different codes in `array`."""
    is_divided = np.minimum.reduceat(array[rows], starts) < np.maximum.reduceat(array[rows], starts)
    if is_divided.any():
        group = int(np.flatnonzero(is_divided)[0])
        raise LabelwiseError(
            f"{int(is_divided.sum()):,} images in several {noun}; {_rows_text(data, rows, starts, group, row_name)}",
            f"each image in one of the {noun}",
            "correct the rows",
        )


def _rows_text(
    data: Dataset, rows: np.ndarray, starts: np.ndarray, group: int, row_name: Callable[[int], str]
) -> str:
    """The image of a group of rows and the names of its first rows, for a message."""
    stop = starts[group + 1] if group + 1 < len(starts) else len(rows)
    members = rows[starts[group] : stop]
    row_names = few([row_name(int(i)) for i in members[:5]], 4)
    return f"{data.image_id(int(members[0]))} ({row_names})"


def _contradiction(
    data: Dataset, rows: np.ndarray, starts: np.ndarray, conflicts: np.ndarray, row_name: Callable[[int], str]
) -> WouldLose:
    """The error for images with rows that contradict each other, naming the first three."""
    images = np.flatnonzero(conflicts.any(1))
    examples = []
    for group in images[:3]:
        labels = [data.labels.names[j] for j in np.flatnonzero(conflicts[group])[:3]]
        examples.append(f"{_rows_text(data, rows, starts, int(group), row_name)} on {', '.join(labels)}")
    return WouldLose(
        f"{len(images):,} images with rows that contradict each other: " + "; ".join(examples),
        "one row per image, or rows that agree",
        "correct the rows, or add duplicates=unknown (mask these cells) or duplicates=union (a row per label)",
        ("duplicates", "unknown"),
    )
