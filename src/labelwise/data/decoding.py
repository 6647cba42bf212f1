"""Decoding of image files to upright RGB arrays: all common formats, with errors for damaged files."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader, BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError, features

from labelwise.data.pixels import BITS, UnreadableImage, is_wide, orientation, pixels_of, unreadable
from labelwise.errors import LabelwiseError
from labelwise.lazy import UInt8

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "MPO", "AVIF", "JPEG2000")
"""Formats that are read; formats that run an external program (EPS) are excluded on purpose."""

MAX_PIXELS = 100_000_000
_ORIENTATION_TAG, _TIFF_WIDTH, _TIFF_HEIGHT = 274, 256, 257
_PIXMAP = re.compile(rb"P6\n([1-9]\d{0,8}) ([1-9]\d{0,8})\n255\n")
_SIGNATURES = (
    (4, b"ftypavi", "an AVIF"),
    (4, b"ftyphe", "a HEIC"),
    (4, b"ftypmif1", "a HEIC"),
    (4, b"ftypmsf1", "a HEIC"),
    (4, b"jP  \r\n", "a JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000"),
    (4, b"JXL \r\n", "a JPEG XL"),
    (0, b"\xff\x0a", "a JPEG XL"),
    (8, b"WEBP", "a WebP"),
    (0, b"8BPS", "a Photoshop"),
    (0, b"%PDF", "a PDF"),
)
"""Offset and magic bytes of formats that Pillow does not decode, or not in every build."""
_FEATURES = {"an AVIF": "avif", "a JPEG 2000": "jpg_2000", "a WebP": "webp"}
"""The Pillow feature that a format requires."""


def decode_pixels(
    source: Path | str | bytes,
    *,
    max_pixels: int = MAX_PIXELS,
    shrink_to: int | None = None,
    bits: int = BITS,
    notes: list[str] | None = None,
    quicker: Callable[[Image.Image], UInt8[np.ndarray, "3 H W"] | None] | None = None,
) -> UInt8[np.ndarray, "3 H W"]:
    """`labelwise.data.decode.decode_image` as an array, without torch.

    Args:
        source: a path, or the encoded bytes.
        max_pixels: largest width x height accepted.
        shrink_to: pixels that both sides of a smaller decoded JPEG keep.
        bits: that 16-bit grey uses, 8 to 16.
        notes: receives a sentence where 16-bit pixels become nearly black.
        quicker: the pixels of an opened image of full size by another decoder that equals Pillow; `None` where it
            does not decode the image.

    Raises:
        UnreadableImage: missing, empty, not an image, damaged, truncated, too large, or pixels over `bits`.

    >>> buffer = BytesIO()
    >>> Image.new("RGB", (4, 2), "red").save(buffer, "PNG")
    >>> decode_pixels(buffer.getvalue()).shape
    (3, 2, 4)
    """
    if isinstance(source, bytes) and (pixels := _pixels_of_pixmap(source, max_pixels)) is not None:
        return pixels
    with _open_image(source, max_pixels) as image:
        full_size = image.size
        if shrink_to is not None:
            image.draft("RGB", (shrink_to, shrink_to))
        if quicker is not None and image.size == full_size and (pixels := quicker(image)) is not None:
            return pixels
        return pixels_of(image, _name(source), bits, notes)


def evenly(count: int, most: int = 200) -> range:
    """At most `most` positions among `count`, evenly spaced.

    >>> list(evenly(7, most=3))
    [0, 3, 6]
    """
    return range(0, count, max(1, -(-count // most)))


def image_size(
    source: Path | str | bytes, *, max_pixels: int = MAX_PIXELS, notes: list[str] | None = None
) -> tuple[int, int]:
    """Width and height in pixels of the upright image, from the header only.

    EXIF data after the pixels of a PNG is ignored here (`decode_image` reads it).

    Args:
        source: a path, or the encoded bytes.
        max_pixels: largest width x height accepted.
        notes: receives a sentence where 16-bit pixels become nearly black; only 16-bit images are decoded.

    Raises:
        UnreadableImage: missing, empty, not an image or too large.
    """
    with _open_image(source, max_pixels) as image:
        if image.format == "TIFF":
            tags = image.tag_v2  # type: ignore[attr-defined]
            width, height, rotation = tags[_TIFF_WIDTH], tags[_TIFF_HEIGHT], tags.get(_ORIENTATION_TAG, 1)
        else:
            (width, height), rotation = image.size, 1
            if image.format != "PNG" or "exif" in image.info:
                rotation = orientation(image)
        if notes is not None and is_wide(image):
            pixels_of(image, _name(source), notes=notes)
        return (height, width) if rotation in (5, 6, 7, 8) else (width, height)


def first_dark(sources: Iterable[Path | str | bytes]) -> str | None:
    """A sentence on the first of several images with 16-bit pixels that become nearly black; `None` without any."""
    notes: list[str] = []
    for source in sources:
        with suppress(UnreadableImage):
            image_size(source, notes=notes)
        if notes:
            return notes[0]
    return None


def _pixels_of_pixmap(source: bytes, max_pixels: int) -> UInt8[np.ndarray, "3 H W"] | None:
    """The pixels of a file of `decode.portable_pixmap`; `None` for any other."""
    header = _PIXMAP.match(source)
    if header is None:
        return None
    width, height = int(header[1]), int(header[2])
    if not 0 < width * height <= max_pixels or len(source) != header.end() + 3 * width * height:
        return None
    pixels = np.frombuffer(source, np.uint8, offset=header.end()).reshape(height, width, 3)
    return pixels.copy().transpose(2, 0, 1)


def is_jpeg(content: bytes) -> bool:
    """Whether a file's bytes start with the magic bytes of a JPEG."""
    return content.startswith(b"\xff\xd8\xff")


@contextmanager
def _open_image(source: Path | str | bytes, max_pixels: int) -> Iterator[Image.Image]:
    """Opens an image and reads its header; any error inside the block becomes `UnreadableImage`."""
    name = _name(source)
    try:
        with _open_file(source, name) as file, Image.open(file, formats=_formats()) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise _too_large(name, f"{width:,} x {height:,} pixels", max_pixels)
            yield image
    except LabelwiseError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        digits = re.search(r"\d+", str(error))
        size = f"{int(digits.group()):,} pixels" if digits else "too many pixels"
        raise _too_large(name, size, max_pixels) from None
    except UnidentifiedImageError:
        raise _unrecognised(source, name) from None
    except Exception as error:  # decoders raise many types on damaged bytes: struct, zlib, index errors
        text = " ".join(str(error).split()) or type(error).__name__
        if "not available" in text:  # a build of Pillow without the library for this format
            raise _unsupported(f"{name} ({text})") from None
        is_truncated = "truncat" in text.lower() or isinstance(error, EOFError)
        raise unreadable(f"{name} is truncated" if is_truncated else f"{name} is damaged ({text})") from None


def _nonblocking(path: str, flags: int) -> int:
    """Opens without blocking: opening a pipe without a writer would block forever."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _open_file(source: Path | str | bytes, name: str) -> BufferedReader | BytesIO:
    """The open file of an image, or its bytes; refuses what is absent, empty or no regular file."""
    if isinstance(source, bytes):
        if not source:
            raise unreadable(f"{name} is empty")
        return BytesIO(source)
    try:
        file = open(source, "rb", opener=_nonblocking)  # noqa: SIM115 - the caller closes it
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
        raise UnreadableImage(f"{name} is not a regular file", "an image file", "name the file itself")
    if state.st_size == 0:
        file.close()
        raise unreadable(f"{name} is empty")
    return file


def _formats() -> list[str]:
    """The formats of `FORMATS` that this build of Pillow decodes."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _name(source: Path | str | bytes) -> str:
    """The name of an image in messages: its path, or the number of its bytes."""
    if isinstance(source, bytes):
        return f"image of {len(source):,} bytes"
    return "image " + os.fsencode(source).decode("utf-8", "replace")


def _unrecognised(source: Path | str | bytes, name: str) -> UnreadableImage:
    """The error for a file that Pillow does not recognise, with its format if the magic bytes are known."""
    if isinstance(source, bytes):
        head = source[:32]
    else:
        with open(source, "rb", opener=_nonblocking) as file:
            head = file.read(32)
    kind = next((kind for offset, magic, kind in _SIGNATURES if head[offset:].startswith(magic)), None)
    if kind is None:
        return unreadable(f"{name} is not an image file")
    if kind in _FEATURES and features.check(_FEATURES[kind]):
        return unreadable(f"{name} is damaged")
    return _unsupported(f"{name} is {kind} file")


def _unsupported(given: str) -> UnreadableImage:
    """The error for an image in a format that this build does not decode."""
    return UnreadableImage(
        f"{given}, which cannot be decoded here",
        "a JPEG, PNG, WebP, TIFF, ... file",
        "save it as one of these, or remove its row",
    )


def _too_large(name: str, size: str, limit: int) -> UnreadableImage:
    """The error for an image with more pixels than the limit."""
    return UnreadableImage(f"{name} has {size}", f"at most {limit:,}", "shrink it or raise the limit")
