"""Images so small that little can be recognised in them."""

from __future__ import annotations

from contextlib import suppress

from labelwise.data.dataset import Dataset
from labelwise.data.decode import UnreadableImage, evenly, image_size

SIDE = 16
"""Pixels under which a side is small: half of one place of a feature map of stride 32."""
SAMPLE = 2000


def small_images(data: Dataset) -> list[str]:
    """A sentence on images with a side under `SIDE` pixels, naming the first; none without such an image.

    Of more than `SAMPLE` rows, as many are read, evenly spaced; unreadable images are left out.
    """
    small = []
    rows = list(evenly(len(data), SAMPLE))
    for row in rows:
        with suppress(UnreadableImage):
            width, height = image_size(data.encoded(row))
            if min(width, height) < SIDE:
                small.append((row, width, height))
    if not small:
        return []
    row, width, height = small[0]
    counted = f"{len(small):,} of {len(rows):,} images" + (" read" if len(rows) < len(data) else "")
    return [
        f"{counted} have a side under {SIDE} px, such as {data.image_id(row)} ({width} x {height}): "
        "they are enlarged, and little can be recognised in them."
    ]
