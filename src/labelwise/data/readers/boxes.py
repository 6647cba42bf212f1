"""Boxes of many images as one Arrow column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from labelwise.data.dataset import BOX_TYPE, Dataset
from labelwise.data.decode import UnreadableImage, image_size
from labelwise.errors import LabelwiseError

Sides = tuple[float, float, float, float]


class LabelBox(NamedTuple):
    """A box of a label.

    Args:
        label: its name.
        sides: (x0, y0, x1, y1), in the unit of `size`.
        size: width and height of the image; `None` if the file does not state them.
    """

    label: str
    sides: Sides
    size: tuple[float, float] | None


@dataclass
class BoxList:
    """Boxes in the order in which they are added; `column` sorts them by row.

    A weak box (difficult, crowd) is kept only if the image has a strong box of the same label: a map may peak on
    either, and a label with only weak boxes is not evaluated.
    """

    rows: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    sides: list[Sides] = field(default_factory=list)
    weak: list[bool] = field(default_factory=list)

    def add(self, row: int, label: int, sides: Sides, size: tuple[float, float], weak: bool) -> None:
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


def with_boxes(data: Dataset, boxes: Sequence[tuple[int, LabelBox, str]], images: Sequence[str]) -> Dataset:
    """A data set with the boxes of its items; a box is left out if the size of its image is unknown.

    Args:
        data: made of the items; some may be merged or left out.
        boxes: number of the item, the box, and the item's name in messages.
        images: of each item, as written.

    Raises:
        LabelwiseError: sides or sizes out of range.
    """
    first_item: dict[str, int] = {}
    for number, image in enumerate(images):
        first_item.setdefault(image, number)
    numbers = range(len(data)) if data.numbers is None else data.numbers
    row_of = {number: row for row, number in enumerate(numbers)}
    column = {name: j for j, name in enumerate(data.labels.names)}
    box_list = BoxList()
    for number, box, place in boxes:
        item = first_item[images[number]]
        size = box.size or _size(data, row_of.get(item))
        if size is None:
            continue
        try:
            box_list.add(item, column[box.label], box.sides, size, False)
        except ValueError as error:
            raise LabelwiseError(
                f"{place}: {error}",
                "sides in pixels, or in the unit that the format states",
                "correct the file",
            ) from None
    if not box_list.rows:
        return data
    cells = box_list.column(len(images), len(column))
    return replace(data, boxes=cells if data.numbers is None else cells.take(pa.array(data.numbers)))


def _size(data: Dataset, row: int | None) -> tuple[float, float] | None:
    """Width and height of a row's image in pixels; `None` if it cannot be read."""
    try:
        return None if row is None else image_size(data.encoded(row))
    except UnreadableImage:
        return None
