"""Boxes of many images as one Arrow column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from labelwise.data.dataset import BOX_TYPE, Dataset


@dataclass
class BoxList:
    """Boxes in the order in which they are added; `column` sorts them by row.

    A weak box (difficult, crowd) is kept only if the image has a strong box of the same label: a map may peak on
    either, and a label with only weak boxes is not evaluated.
    """

    rows: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    sides: list[tuple[float, float, float, float]] = field(default_factory=list)
    weak: list[bool] = field(default_factory=list)

    def add(
        self,
        row: int,
        label: int,
        sides: tuple[float, float, float, float],
        size: tuple[float, float],
        weak: bool,
    ) -> None:
        """Adds a box with `sides` (x0, y0, x1, y1) in pixels of an image of `size` (width, height).

        Raises:
            ValueError: a side or size out of range.
        """
        if not all(abs(side) < 1e9 for side in sides) or not all(0 < side < 1e9 for side in size):
            raise ValueError(f"a box of {sides} in an image of {size}")
        (x0, y0, x1, y1), (width, height) = sides, size
        self.rows.append(row)
        self.labels.append(label)
        self.sides.append((x0 / width, y0 / height, x1 / width, y1 / height))
        self.weak.append(weak)

    def column(self, rows: int, labels: int) -> pa.Array:
        """`[rows]` lists of boxes, clipped to the image and without empty boxes."""
        row, label = np.array(self.rows, np.int64), np.array(self.labels, np.int64)
        sides = np.clip(np.array(self.sides, np.float32).reshape(-1, 4), 0, 1)
        strong = ~np.array(self.weak, bool)
        cell = row * labels + label
        keep = (strong | np.isin(cell, cell[strong])) & (sides[:, :2] < sides[:, 2:]).all(1)
        order = np.flatnonzero(keep)[np.argsort(row[keep], kind="stable")]
        offsets = np.concatenate([[0], np.cumsum(np.bincount(row[order], minlength=rows))]).astype(np.int32)
        columns = [label[order].astype(np.int32), *sides[order].T]
        flat = pa.StructArray.from_arrays(
            [pa.array(np.ascontiguousarray(c)) for c in columns], fields=list(BOX_TYPE.value_type)
        )
        return pa.ListArray.from_arrays(pa.array(offsets), flat).cast(BOX_TYPE)


def with_boxes(data: Dataset, boxes: BoxList, images: Sequence[str]) -> Dataset:
    """A data set with the boxes of its items.

    Args:
        data: made of the items; some may be merged or left out.
        boxes: by the number of their item; without boxes the data set is returned unchanged.
        images: of each item, as written; a repeated image has the boxes of all its items.
    """
    if not boxes.rows:
        return data
    first: dict[str, int] = {}
    for row, image in enumerate(images):
        first.setdefault(image, row)
    joined = replace(boxes, rows=[first[images[row]] for row in boxes.rows])
    column = joined.column(len(images), len(data.labels))
    return replace(data, boxes=column if data.numbers is None else column.take(pa.array(data.numbers)))
