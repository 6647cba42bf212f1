"""A box drawn on a photograph, to which the features of its labels are restricted.

Inside the network the box takes the place of the photograph: its maps are resampled to grids of the usual size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from labelwise.errors import LabelwiseError

Box = tuple[float, float, float, float]
"""`x0, y0, x1, y1` as shares of a picture's width and height."""
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


def checked_box(box: Sequence[float], given: str = "") -> Box:
    """A box of a photograph.

    Args:
        box: four numbers.
        given: the box as it was written, for the message.

    Raises:
        LabelwiseError: not four shares from 0 to 1, or a box without an area.
    """
    try:
        x0, y0, x1, y1 = (float(side) for side in box)
        is_valid = 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1
    except (TypeError, ValueError):
        is_valid = False
    if not is_valid:
        raise LabelwiseError(
            f"box {given or ','.join(map(str, box))}",
            "x0,y0,x1,y1: left, top, right and bottom as shares of the photograph's width and height, from 0 to 1",
            "divide pixels by its width and height",
        )
    return x0, y0, x1, y1


def read_box(text: str) -> Box:
    """A box written as `x0,y0,x1,y1`.

    >>> read_box("0.1, .2, 0.5, 1")
    (0.1, 0.2, 0.5, 1.0)

    Raises:
        LabelwiseError: as `checked_box`.
    """
    try:
        numbers = [float(side) for side in text.split(",")]
    except ValueError:
        numbers = []
    return checked_box(numbers, text)


def boxes_of(given: Any, photographs: int) -> list[Box | None]:
    """The box of each photograph.

    Args:
        given: a box for a single photograph; a sequence with a box or `None` for each; or `None` for no box.
        photographs: their number.

    Raises:
        LabelwiseError: another number of boxes, or as `checked_box`.
    """
    if given is None:
        return [None] * photographs
    boxes = [given] if len(given) and np.isscalar(given[0]) else list(given)
    if len(boxes) != photographs:
        raise LabelwiseError(
            f"{len(boxes)} box{'es' * (len(boxes) != 1)} for {photographs} photograph{'s' * (photographs != 1)}",
            "one for each photograph",
            "give as many; 0,0,1,1 is a whole photograph",
        )
    return [None if box is None else checked_box(box) for box in boxes]


def seen_box(box: Box, shown: Box) -> Box:
    """The box in the part of the photograph that the model sees, in shares of that part.

    >>> seen_box((0.0, 0.5, 0.5, 1.0), (0.25, 0.0, 0.75, 1.0))
    (0.0, 0.5, 0.5, 1.0)

    Raises:
        LabelwiseError: a box outside of that part.
    """
    top_left, bottom_right = (
        [
            min(max((box[i] - shown[i % 2]) / (shown[2 + i % 2] - shown[i % 2]), 0.0), 1.0)
            for i in (first, first + 1)
        ]
        for first in (0, 2)
    )
    if top_left[0] >= bottom_right[0] or top_left[1] >= bottom_right[1]:
        raise LabelwiseError(
            f"box {','.join(f'{side:g}' for side in box)}, outside of what the model sees of the photograph",
            f"a box that reaches into {','.join(f'{side:.3g}' for side in shown)}",
            "move it there",
        )
    return top_left[0], top_left[1], bottom_right[0], bottom_right[1]


def box_of_part(box: Box, part: Box) -> Box:
    """A box of a part of a photograph, such as another box, in shares of the photograph.

    >>> box_of_part((0.0, 0.5, 1.0, 1.0), (0.5, 0.0, 1.0, 0.5))
    (0.5, 0.25, 1.0, 0.5)
    """
    (x0, y0, x1, y1), (left, top, right, bottom) = box, part
    width, height = right - left, bottom - top
    return left + x0 * width, top + y0 * height, left + x1 * width, top + y1 * height


def mirrored(box: Box) -> Box:
    """The box in the mirror image."""
    return 1 - box[2], box[1], 1 - box[0], box[3]


def cut_maps(maps: Any, boxes: Sequence[Box]) -> Any:
    """`[B, C, h, w]` maps of boxes, one for each image, on the same grid: bilinear at the centres of its places.

        y_cij = x_c( (y0 + (i + 1/2) / h (y1 - y0)) h - 1/2, (x0 + (j + 1/2) / w (x1 - x0)) w - 1/2 )

    A box of the whole image gives the map itself.

    Source: RoIAlign with one sample per place, He et al. 2017, "Mask R-CNN".
    """
    from torchvision.ops import roi_align

    height, width = maps.shape[2:]
    rois = maps.new_tensor(
        [[i, x0 * width, y0 * height, x1 * width, y1 * height] for i, (x0, y0, x1, y1) in enumerate(boxes)]
    )
    return roi_align(maps.contiguous(), rois, (height, width), sampling_ratio=1, aligned=True)


def cut_pixels(images: Any, box: Box) -> Any:
    """`[B, 3, H, W]` pixels of a box at the size of the image: for each pixel the nearest one of the box."""
    (x0, y0, x1, y1), (height, width) = box, images.shape[2:]
    rows, columns = (
        np.minimum((low + (np.arange(count) + 0.5) / count * (high - low)) * count, count - 1).astype(
            np.int64
        )
        for count, low, high in ((height, y0, y1), (width, x0, x1))
    )
    return images[:, :, rows][:, :, :, columns]


def cut_regions(regions: Mapping[int, Box], box: Box) -> dict[int, Box]:
    """The regions of labels as far as they lie in a box, in its shares; all of the box for one that lies outside."""
    seen_regions = {}
    for label, region in regions.items():
        try:
            seen_regions[label] = seen_box(region, box)
        except LabelwiseError:
            seen_regions[label] = WHOLE
    return seen_regions
