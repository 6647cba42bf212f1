"""Image files to upright RGB tensors: every common kind of file, and a plain refusal of damaged ones."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, BytesIO
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from labelwise.errors import LabelwiseError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "MPO", "AVIF", "JPEG2000")
"""Kinds of file that are read; those that run a program of their own (EPS) are left out on purpose."""

MAX_PIXELS = 100_000_000
_ORIENTATION_TAG, _TIFF_WIDTH, _TIFF_HEIGHT = 274, 256, 257
_PIXMAP = re.compile(rb"P6\n([1-9]\d{0,8}) ([1-9]\d{0,8})\n255\n")
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnreadableImage(LabelwiseError):  # noqa: N818 - the name says it
    """One image that cannot be decoded; `given` names it and says why in one line."""


def decode_image(
    source: Path | str | bytes, *, max_pixels: int = MAX_PIXELS, shrink_to: int | None = None
) -> UInt8[Tensor, "3 H W"]:
    """One image as people see it: 8-bit RGB, upright by its EXIF orientation.

    Transparency is laid over white; 16-bit grey is scaled by 255/65535; of an animation the first frame is
    taken. A truncated file is refused, not filled with grey: half-grey pictures would harm training silently.

    Args:
        source: a path, or the encoded bytes.
        max_pixels: largest width x height accepted; checked in the header, before any pixel is decoded.
        shrink_to: pixels; a larger JPEG is decoded at 1/2, 1/4 or 1/8 while both sides stay at or above this.

    Returns:
        `[3, H, W]` uint8 in [0, 255]. The memory is channels-last, the order that resizing is fastest in.

    Raises:
        UnreadableImage: missing, empty, no image, damaged, truncated or too large.

    >>> from PIL import Image
    >>> buffer = BytesIO()
    >>> Image.new("RGB", (4, 2), "red").save(buffer, "PNG")
    >>> tuple(decode_image(buffer.getvalue()).shape)
    (3, 2, 4)
    """
    if isinstance(source, bytes) and (pixels := _of_pixmap(source, max_pixels)) is not None:
        return pixels
    with _opened(source, max_pixels) as image:
        whole = image.size
        if shrink_to is not None:
            image.draft("RGB", (shrink_to, shrink_to))
        if image.size == whole and (pixels := _of_plain_jpeg(image)) is not None:
            return pixels
        image.load()
        # Read after loading: TIFF files turn themselves upright while they load, and then say so.
        rgb = _to_rgb(image, _name(source))
        turn = _UPRIGHT.get(_orientation(image))
        if turn is not None:
            rgb = rgb.transpose(turn)
        return torch.from_numpy(np.array(rgb)).permute(2, 0, 1)


def image_size(source: Path | str | bytes, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Width and height in pixels of the upright image, from the header alone.

    EXIF data that a PNG carries behind its pixels is not seen here (`decode_image` does see it).

    Raises:
        UnreadableImage: missing, empty, no image or too large.
    """
    with _opened(source, max_pixels) as image:
        if image.format == "TIFF":
            tags = image.tag_v2  # type: ignore[attr-defined]
            width, height, orientation = tags[_TIFF_WIDTH], tags[_TIFF_HEIGHT], tags.get(_ORIENTATION_TAG, 1)
        else:
            (width, height), orientation = image.size, 1
            if image.format != "PNG" or "exif" in image.info:
                orientation = _orientation(image)
        return (height, width) if orientation in (5, 6, 7, 8) else (width, height)


def portable_pixmap(image: UInt8[Tensor, "3 H W"]) -> bytes:
    """The image as a binary PPM file: a line of header, then the pixels as they are, which reads fastest.

    >>> portable_pixmap(torch.zeros(3, 1, 2, dtype=torch.uint8))
    b'P6\\n2 1\\n255\\n\\x00\\x00\\x00\\x00\\x00\\x00'
    """
    height, width = image.shape[-2:]
    return b"P6\n%d %d\n255\n" % (width, height) + image.permute(1, 2, 0).contiguous().numpy().tobytes()


def _of_pixmap(source: bytes, max_pixels: int) -> UInt8[Tensor, "3 H W"] | None:
    """The pixels of a file as `portable_pixmap` writes it; `None` for any other."""
    header = _PIXMAP.match(source)
    if header is None:
        return None
    width, height = int(header[1]), int(header[2])
    if not 0 < width * height <= max_pixels or len(source) != header.end() + 3 * width * height:
        return None
    pixels = np.frombuffer(source, np.uint8, offset=header.end()).reshape(height, width, 3)
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)


def _of_plain_jpeg(image: Image.Image) -> UInt8[Tensor, "3 H W"] | None:
    """The pixels of an opened JPEG that needs no turning, in half of Pillow's time and equal to Pillow's to the bit.

    `None` where there is more to do or something is wrong: Pillow then decodes, or says what is wrong.
    """
    if image.format != "JPEG" or image.mode not in ("RGB", "L") or _orientation(image) in _UPRIGHT:
        return None
    from torchvision import io  # slow to import: not for those who only read tables

    file = image.fp  # type: ignore[attr-defined]
    file.seek(0)
    content = torch.frombuffer(bytearray(file.read()), dtype=torch.uint8)
    try:
        pixels = io.decode_jpeg(content, io.ImageReadMode.RGB)
    except RuntimeError:
        return None
    return pixels if pixels.shape[1:] == image.size[::-1] else None


def is_jpeg(content: bytes) -> bool:
    """Whether a file's bytes begin as those of a JPEG."""
    return content.startswith(b"\xff\xd8\xff")


@contextmanager
def _opened(source: Path | str | bytes, max_pixels: int) -> Iterator[Image.Image]:
    """The image with its header read; whatever goes wrong inside the block is told as `UnreadableImage`."""
    name = _name(source)
    try:
        with _file(source, name) as file, Image.open(file, formats=_formats()) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise _too_large(name, f"{width:,} x {height:,} pixels", max_pixels)
            yield image
    except LabelwiseError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        count = re.search(r"\d+", str(error))
        size = f"{int(count.group()):,} pixels" if count else "too many pixels"
        raise _too_large(name, size, max_pixels) from None
    except UnidentifiedImageError:
        raise _unreadable(f"{name} is not an image file") from None
    except Exception as error:  # decoders raise nearly anything on damaged bytes: struct, zlib, index errors
        text = " ".join(str(error).split()) or type(error).__name__
        short = "truncat" in text.lower() or isinstance(error, EOFError)
        raise _unreadable(f"{name} is truncated" if short else f"{name} is damaged ({text})") from None


def _at_once(path: str, flags: int) -> int:
    """Opens without waiting: a pipe that nobody writes to would be waited for without end."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _file(source: Path | str | bytes, name: str) -> BufferedReader | BytesIO:
    if isinstance(source, bytes):
        if not source:
            raise _unreadable(f"{name} is empty")
        return BytesIO(source)
    try:
        file = open(source, "rb", opener=_at_once)  # noqa: SIM115 - the caller closes it
    except FileNotFoundError:
        raise UnreadableImage(f"{name} does not exist", "an image file", "correct the path") from None
    except IsADirectoryError:
        raise UnreadableImage(f"{name} is a folder", "an image file", "name the files in it") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UnreadableImage(f"{name} cannot be opened ({reason})", "a readable file", "check it") from None
    state = os.fstat(file.fileno())
    if not stat.S_ISREG(state.st_mode):
        file.close()
        raise UnreadableImage(f"{name} is no plain file", "an image file", "name the file itself")
    if state.st_size == 0:
        file.close()
        raise _unreadable(f"{name} is empty")
    return file


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        return _from_wide_grey(image, name).convert("RGB")
    if image.mode == "F":
        raise _unreadable(f"{name} holds floating-point pixels", "8-bit or 16-bit pixels")
    if image.has_transparency_data:
        over = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", over.size, "white"), over).convert("RGB")
    return image.convert("RGB")


def _from_wide_grey(image: Image.Image, name: str) -> Image.Image:
    grey = np.asarray(image).astype(np.int64)
    if grey.min() < 0 or grey.max() > 65535:
        raise _unreadable(f"{name} holds 32-bit pixels up to {grey.max()}", "8-bit or 16-bit pixels")
    return Image.fromarray(((grey + 128) // 257).astype(np.uint8))


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # a broken EXIF block does not make the picture unreadable
        return 1


def _formats() -> list[str]:
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _name(source: Path | str | bytes) -> str:
    if isinstance(source, bytes):
        return f"image of {len(source):,} bytes"
    return "image " + os.fsencode(source).decode("utf-8", "replace")


def _unreadable(given: str, expected: str = "a whole image file (JPEG, PNG, WebP, ...)") -> UnreadableImage:
    return UnreadableImage(given, expected, "replace it or remove its row")


def _too_large(name: str, size: str, limit: int) -> UnreadableImage:
    return UnreadableImage(f"{name} has {size}", f"at most {limit:,}", "shrink it or raise the limit")
