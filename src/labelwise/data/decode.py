"""Decoding of image files to upright RGB tensors, see `decoding` for arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from labelwise.data.decoding import MAX_PIXELS, decode_pixels
from labelwise.data.decoding import evenly as evenly
from labelwise.data.decoding import first_dark as first_dark
from labelwise.data.decoding import image_size as image_size
from labelwise.data.decoding import is_jpeg as is_jpeg
from labelwise.data.pixels import BITS, needs_rotation
from labelwise.data.pixels import UnreadableImage as UnreadableImage
from labelwise.lazy import UInt8, torch


def decode_image(
    source: Path | str | bytes,
    *,
    max_pixels: int = MAX_PIXELS,
    shrink_to: int | None = None,
    bits: int = BITS,
    notes: list[str] | None = None,
) -> UInt8[torch.Tensor, "3 H W"]:
    """One image as 8-bit RGB, upright by its EXIF orientation.

    Transparency is composited over white; 16-bit grey is scaled by `255 / (2^bits - 1)`; of an animation the first
    frame is used. A truncated file is refused, not filled with grey: half-grey images would harm training silently.

    Args:
        source: a path, or the encoded bytes.
        max_pixels: largest width x height accepted; checked in the header, before any pixel is decoded.
        shrink_to: pixels; a larger JPEG is decoded at 1/2, 1/4 or 1/8 while both sides stay at or above this.
        bits: that 16-bit grey uses, 8 to 16: 12 where a 12-bit camera stored its pixels without scaling.
        notes: receives a sentence where 16-bit pixels become nearly black.

    Returns:
        `[3, H, W]` uint8 in [0, 255]. The memory is channels-last, the fastest layout for resizing.

    Raises:
        UnreadableImage: missing, empty, not an image, damaged, truncated, too large, or pixels over `bits`.

    >>> from io import BytesIO
    >>> from PIL import Image
    >>> buffer = BytesIO()
    >>> Image.new("RGB", (4, 2), "red").save(buffer, "PNG")
    >>> tuple(decode_image(buffer.getvalue()).shape)
    (3, 2, 4)
    """
    options = {"max_pixels": max_pixels, "shrink_to": shrink_to, "bits": bits, "notes": notes}
    return torch.from_numpy(decode_pixels(source, **options, quicker=_pixels_of_plain_jpeg))  # type: ignore[arg-type]


def portable_pixmap(image: UInt8[torch.Tensor, "3 H W"]) -> bytes:
    """The image as a binary PPM file, a header and raw pixels, which is the fastest to read.

    >>> portable_pixmap(torch.zeros(3, 1, 2, dtype=torch.uint8))
    b'P6\\n2 1\\n255\\n\\x00\\x00\\x00\\x00\\x00\\x00'
    """
    height, width = image.shape[-2:]
    return b"P6\n%d %d\n255\n" % (width, height) + image.permute(1, 2, 0).contiguous().numpy().tobytes()


def _pixels_of_plain_jpeg(image: Image.Image) -> UInt8[np.ndarray, "3 H W"] | None:
    """The pixels of an opened upright JPEG, in half of Pillow's time and equal to Pillow's to the bit.

    `None` for other images and on errors: Pillow then decodes, or raises an error.
    """
    if image.format != "JPEG" or image.mode not in ("RGB", "L") or needs_rotation(image):
        return None
    from torchvision import io  # slow to import, and not needed to read tables

    file = image.fp  # type: ignore[attr-defined]
    file.seek(0)
    content = torch.frombuffer(bytearray(file.read()), dtype=torch.uint8)
    try:
        pixels = io.decode_jpeg(content, io.ImageReadMode.RGB)
    except RuntimeError:
        return None
    return pixels.numpy() if pixels.shape[1:] == image.size[::-1] else None
