"""Numbers of labels that do not fit the number of images."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64

from labelwise.data.balance import blocks
from labelwise.data.dataset import Dataset
from labelwise.data.readers.name_doubts import few
from labelwise.data.source import Source, as_option
from labelwise.errors import LabelwiseError

MOST_CELLS = 1 << 33
MANY = 1000
"""Number of names above which a column may hold sentences or image numbers, which images do not share."""
ONCE = 0.95
"""Share of names on a single image above which such a column is refused."""
NOTED = 20
"""Number of labels on a single image from which a note lists them."""


def refuse_huge(images: int, labels: int, where: str, todo: str = "name fewer labels") -> None:
    """Raises `LabelwiseError` before cells are allocated that would exceed memory."""
    if images * labels > MOST_CELLS:
        raise LabelwiseError(
            f"{where} with {images:,} images and {labels:,} labels", f"at most {MOST_CELLS:,} cells", todo
        )


def refuse_unshared(mentions: Int64[np.ndarray, " L"], images: int, column: str, source: Source) -> None:
    """Raises `LabelwiseError` for a column of many names that images rarely share, unless `labels` names it.

    Args:
        mentions: number of mentions of each name.
        images: number of rows of the table.
        column: name of the column.
        source: the source of the table.
    """
    once = int((mentions == 1).sum())
    if len(mentions) > MANY and once > ONCE * len(mentions) and column not in source.names("labels"):
        raise LabelwiseError(
            f"{source.path}: column {column!r} with {len(mentions):,} names in {images:,} rows, {once:,} of them once",
            "names of labels, which images share",
            "name the column of the labels with ?labels=COLUMN, or "
            f"add ?labels={as_option([column])} if they are labels",
        )
    refuse_huge(images, len(mentions), source.path)


def unshared_names(data: Dataset) -> list[str]:
    """A note on labels that occur on a single image, if most labels do."""
    size = len(data.labels)
    count = np.zeros(size, np.int64)
    for block in blocks(data) if size >= NOTED else ():
        count += (data.known[block] & (data.values[block] >= 0.5)).sum(0)
        if 2 * (count > 1).sum() >= size:
            return []
    once = [data.labels.names[j] for j in np.flatnonzero(count == 1).tolist()]
    if len(once) < NOTED or 2 * len(once) <= size:
        return []
    return [f"{len(once):,} of {size:,} labels occur on one image alone: {few(once)}."]
