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
    codes = _codes(data)
    count = np.bincount(codes, minlength=1)
    if count.max() <= 1:
        return data
    rows = np.flatnonzero(count[codes] > 1)
    rows = rows[np.argsort(codes[rows], kind="stable")]
    starts = np.flatnonzero(np.diff(codes[rows], prepend=-1))
    for what, array in (("splits", data.split_of), ("groups", data.group)):
        if array is not None:
            _refuse_several(data, array, rows, starts, what, row_name)
    values, known = data.values[rows].astype(np.float32), data.known[rows]
    low = np.minimum.reduceat(np.where(known, values, np.inf), starts)
    high = np.maximum.reduceat(np.where(known, values, -np.inf), starts)
    clash = low < high
    clash &= np.isfinite(low) & np.isfinite(high)
    if clash.any() and policy == "stop":
        raise _contradiction(data, rows, starts, clash, row_name)
    some = np.isfinite(high) & ~(clash & (policy == "unknown"))
    first = rows[starts]
    new_values, new_known = data.values.copy(), data.known.copy()
    new_values[first], new_known[first] = np.where(some, high, 0).astype(data.values.dtype), some
    merged = replace(data, values=new_values, known=new_known)
    keep = np.ones(len(data), bool)
    keep[np.setdiff1d(rows, first)] = False
    extra = len(rows) - len(first)
    fate = {"unknown": "became unknown", "union": "became positive"}.get(policy, "")
    detail = f"; {int(clash.sum()):,} cells that contradict each other {fate}" if clash.any() else ""
    return merged.take(keep).with_notes(
        f"{extra:,} repeated rows were merged into the first of their image{detail}."
    )


def _codes(data: Dataset) -> np.ndarray:
    coded = data.images.dictionary_encode()
    combined = coded.unify_dictionaries().combine_chunks() if hasattr(coded, "chunks") else coded
    return combined.indices.to_numpy(zero_copy_only=False).astype(np.int64)


def _refuse_several(
    data: Dataset,
    array: np.ndarray,
    rows: np.ndarray,
    starts: np.ndarray,
    what: str,
    row_name: Callable[[int], str],
) -> None:
    several = np.minimum.reduceat(array[rows], starts) < np.maximum.reduceat(array[rows], starts)
    if several.any():
        pick = int(np.flatnonzero(several)[0])
        raise LabelwiseError(
            f"{int(several.sum()):,} images in several {what}; {_where(data, rows, starts, pick, row_name)}",
            f"each image in one of the {what}",
            "correct the rows",
        )


def _where(
    data: Dataset, rows: np.ndarray, starts: np.ndarray, pick: int, row_name: Callable[[int], str]
) -> str:
    stop = starts[pick + 1] if pick + 1 < len(starts) else len(rows)
    members = rows[starts[pick] : stop]
    rows_of_it = few([row_name(int(i)) for i in members[:5]], 4)
    return f"{data.image_id(int(members[0]))} ({rows_of_it})"


def _contradiction(
    data: Dataset, rows: np.ndarray, starts: np.ndarray, clash: np.ndarray, row_name: Callable[[int], str]
) -> WouldLose:
    images = np.flatnonzero(clash.any(1))
    examples = []
    for pick in images[:3]:
        labels = [data.labels.names[j] for j in np.flatnonzero(clash[pick])[:3]]
        examples.append(f"{_where(data, rows, starts, int(pick), row_name)} on {', '.join(labels)}")
    return WouldLose(
        f"{len(images):,} images with rows that contradict each other: " + "; ".join(examples),
        "one row per image, or rows that agree",
        "correct the rows, or add duplicates=unknown (mask these cells) or duplicates=union (a row per label)",
        ("duplicates", "unknown"),
    )
