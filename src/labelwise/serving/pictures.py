"""Photographs as JPEG files for the pages."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from labelwise.data.decode import MAX_PIXELS, decode_image

LONGEST = 1200
"""Longest side in pixels of a photograph that is looked at on its own."""


def jpeg(source: Path | bytes, longest: int = LONGEST, max_pixels: int = MAX_PIXELS) -> bytes:
    """A photograph as a JPEG of limited size, upright by its EXIF orientation.

    Raises:
        UnreadableImage: as `decode_image`.
    """
    array = decode_image(source, shrink_to=longest, max_pixels=max_pixels).permute(1, 2, 0).contiguous()
    image = Image.fromarray(array.numpy())
    image.thumbnail((longest, longest))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=88 if longest == LONGEST else 80)
    return buffer.getvalue()
