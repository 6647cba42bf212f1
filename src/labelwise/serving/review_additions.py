"""Cells of photographs that were selected in a search, for the review queue."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from labelwise.collection.embedding import path_text
from labelwise.data.dataset import Dataset
from labelwise.data.review import Item, Review
from labelwise.errors import LabelwiseError

REASON = "selected in a search of the collection"


def add_cells(review: Review, label: str, scores: Mapping[str, float]) -> dict[str, Any]:
    """Adds a label of photographs to the queue, with the opposite of its annotation as the proposal.

    Args:
        review: the queue.
        label: the label in question.
        scores: path -> probability of the label.

    Returns:
        `added`, `there` (in the queue before) and `absent` (photographs that the data do not hold).

    Raises:
        LabelwiseError: a label that the data do not have, images inside a table, or a file that cannot be written.
    """
    data = review.data
    if data is not None and label not in data.labels.names:
        raise LabelwiseError(
            f"label {label!r}, which the data do not have", "one of the data", "choose another label"
        )
    rows = {} if data is None else _rows(data)
    items: list[Item] = []
    for path, score in scores.items():
        image, current = _path_beside_audit(review, path), ""
        if data is not None:
            row = rows.get(path)
            image = None if row is None else data.image_id(row)
            current = "" if row is None else _annotation(data, row, label)
        if image is not None:
            items.append(_item(len(review) + len(items) + 1, image, label, current, score))
    added = review.add(items)
    return {"added": added, "there": len(items) - added, "absent": len(scores) - len(items)}


def _item(rank: int, image: str, label: str, current: str, score: float) -> Item:
    proposed, kind, suspicion = ("0", "wrong", 1 - score) if current == "1" else ("1", "missing", score)
    return Item(str(rank), image, label, current, proposed, kind, f"{suspicion:.4f}", f"{score:.4f}", REASON)


def _rows(data: Dataset) -> dict[str, int]:
    """Absolute path -> row of the images of the data."""
    if data.embedded:
        raise LabelwiseError(
            "data with images inside a table", "images that are files", "start with --data of files"
        )
    return {path_text(os.fspath(data.encoded(i))): i for i in range(len(data))}  # type: ignore[arg-type]


def _path_beside_audit(review: Review, path: str) -> str | None:
    """The path relative to the audit's folder; `None` for one outside it."""
    folder = path_text(os.fspath(review.audit.parent))
    return os.path.relpath(path, folder) if path.startswith(folder + os.sep) else None


def _annotation(data: Dataset, row: int, label: str) -> str:
    """`1`, `0`, or an empty text where it is unknown."""
    j = data.labels.names.index(label)
    return str(int(data.values[row, j] >= 0.5)) if data.known[row, j] else ""
