"""Pixels of every depth and form as upright 8-bit RGB."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from labelwise.errors import LabelwiseError
from labelwise.lazy import UInt8

if TYPE_CHECKING:
    import torch

BITS = 16
"""Bits that 16-bit pixels use by default."""
DARK = 1 << 14
"""16-bit pixels that are all below this likely use fewer bits and were stored without scaling."""
_ORIENTATION_TAG, _BITS_TAG = 274, 258
_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnreadableImage(LabelwiseError):  # noqa: N818 - the name says it
    """One image that cannot be decoded; `given` has its name and the reason in one line."""


def unreadable(given: str, expected: str = "a whole image file (JPEG, PNG, WebP, ...)") -> UnreadableImage:
    """The error for an image that no setting makes readable."""
    return UnreadableImage(given, expected, "replace it or remove its row")


def orientation(image: Image.Image) -> int:
    """The EXIF orientation of the stored pixels, from 1 (upright) to 8; 1 where none is stored."""
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # a broken EXIF block does not make the image unreadable
        return 1


def needs_rotation(image: Image.Image) -> bool:
    """Whether the stored pixels are not upright."""
    return orientation(image) in _TRANSPOSITIONS


def is_wide(image: Image.Image) -> bool:
    """Whether the header of an image, not loaded yet, declares pixels of more than 8 bits."""
    return image.mode.startswith("I") or any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))


def pixels_of(
    image: Image.Image, name: str, bits: int = BITS, notes: list[str] | None = None
) -> UInt8[np.ndarray, "3 H W"]:
    """The pixels of a PIL image, upright and in 8-bit RGB; the memory is channels-last.

    Transparency is composited over white. 16-bit grey is scaled by `255 / (2^bits - 1)`, unless its file declares
    the bits it uses, as a 12-bit TIFF and a PGM do. Of 16-bit colours the upper 8 bits are used.

    Args:
        image: in any mode except those of floats.
        name: of the image in messages.
        bits: that 16-bit grey uses, 8 to 16.
        notes: receives a sentence where 16-bit pixels become nearly black.

    Raises:
        UnreadableImage: pixels that do not fit into 8 or 16 bits, or not into `bits`.
        OSError: the file of the image is damaged.
    """
    over_8_bits, stored = is_wide(image), _declared_bits(image)
    image.load()
    # Read after loading: TIFF files are rotated upright while they load, and their orientation is updated.
    transposition = _TRANSPOSITIONS.get(orientation(image))
    if image.mode.startswith("I"):
        grey = np.asarray(image)
        if grey.min() < 0 or grey.max() > 65535:
            raise unreadable(f"{name} holds 32-bit pixels up to {grey.max()}", "8-bit or 16-bit pixels")
        rgb = Image.fromarray(scaled(grey, name, stored or bits, None if stored else notes)).convert("RGB")
    else:
        if over_8_bits:
            _check_wide_colours(image, name, bits, notes)
        rgb = _to_rgb(image, name)
    if transposition is not None:
        rgb = rgb.transpose(transposition)
    return np.array(rgb).transpose(2, 0, 1)


def _declared_bits(image: Image.Image) -> int | None:
    """Bits that an image, not loaded yet, uses by its own header; `None` where the header does not declare them."""
    if image.format == "PPM" and image.mode == "I" and image.tile[0][3] not in ("I;16B", ("I;16B",)):  # type: ignore[attr-defined]
        return BITS  # Pillow scales it by the maximum in the header
    stored = getattr(image, "tag_v2", {}).get(_BITS_TAG)
    return 12 if stored in (12, (12,)) else None


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    """An image of at most 8 bits in RGB, transparency composited over white."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "F":
        raise unreadable(f"{name} holds floating-point pixels", "8-bit or 16-bit pixels")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def _check_wide_colours(image: Image.Image, name: str, bits: int, notes: list[str] | None) -> None:
    """Checks 16-bit colours, of which Pillow returns the upper 8 bits: they cannot be scaled from fewer bits."""
    if bits != BITS:
        raise unreadable(
            f"{name} holds colours of 16 bits, which cannot be read as {bits} bits",
            "8-bit colours, or grey of 16 bits",
        )
    largest = int(np.asarray(image)[..., : len(image.mode.rstrip("A"))].max())
    if notes is not None and 0 < largest < DARK >> 8:
        note = f"{name} holds colours of 16 bits with values under {(largest + 1) << 8:,} and is read as nearly black"
        notes.append(f"{note}: scale them to 65,535.")


def scaled(
    values: np.ndarray, name: str, bits: int = BITS, notes: list[str] | None = None
) -> UInt8[np.ndarray, "*shape"]:
    """Scales pixels of `bits` bits to 8 bits, rounded.

    Raises:
        UnreadableImage: a value of more than `bits` bits.

    >>> scaled(np.array([[0, 2048, 4095]]), "image", bits=12).tolist()
    [[0, 128, 255]]
    """
    maximum, largest = (1 << bits) - 1, int(values.max())
    if largest > maximum:
        raise UnreadableImage(
            f"{name} holds pixels up to {largest:,}",
            f"at most {maximum:,}, as {bits} bits hold",
            "set the bits that these images use, 16 at most",
        )
    if notes is not None and bits == BITS and 0 < largest < DARK:
        notes.append(dark_note(name, largest))
    return ((values.astype(np.int64) * 255 + maximum // 2) // maximum).astype(np.uint8)


def dark_note(name: str, largest: int) -> str:
    """A sentence on 16-bit grey that likely uses fewer bits.

    >>> dark_note("image a.png", 4000)
    'image a.png holds 16-bit grey of 4,000 at most and is read as nearly black: if its pixels use 12 bits, say so
    (predict --bits 12; train --set augment.bits=12).'
    """
    used = max(8, largest.bit_length())
    return (
        f"{name} holds 16-bit grey of {largest:,} at most and is read as nearly black: if its pixels use {used} bits, "
        f"say so (predict --bits {used}; train --set augment.bits={used})."
    )


def pixels_of_array(
    array: np.ndarray, bits: int = BITS, notes: list[str] | None = None
) -> UInt8[np.ndarray, "3 H W"]:
    """The pixels of an array, as `pixels_of` returns those of a PIL image.

    Args:
        array: uint8 or uint16, `[H, W]` or `[H, W, 1]` grey, `[H, W, 2]` grey and opacity, `[H, W, 3]` red, green and
            blue, or `[H, W, 4]` with opacity.
        bits: that uint16 pixels use, 8 to 16.
        notes: receives a sentence where uint16 pixels become nearly black.

    Raises:
        LabelwiseError: an array of another type or shape.
        UnreadableImage: uint16 pixels that do not fit into `bits`.
    """
    check_array(array)
    planes = array[..., None] if array.ndim == 2 else array
    if planes.dtype == np.uint16:
        alpha = planes.shape[-1] in (2, 4)
        colours = scaled(planes[..., :-1] if alpha else planes, "array", bits, notes)
        # Opacity uses all its bits.
        planes = np.concatenate([colours, scaled(planes[..., -1:], "array")], axis=-1) if alpha else colours
    squeezed = planes[..., 0] if planes.shape[-1] == 1 else planes
    return pixels_of(Image.fromarray(np.ascontiguousarray(squeezed)), "array")


def check_array(array: np.ndarray) -> None:
    """Raises `LabelwiseError` for an array that is not an image."""
    given = f"an array of {array.dtype} {list(array.shape)}"
    expected = "uint8 or uint16 pixels [H, W], [H, W, 3] or [H, W, 4]"
    if array.ndim not in (2, 3) or not array.size or (array.ndim == 3 and array.shape[-1] > 4):
        planar = array.ndim == 3 and array.size and array.shape[0] <= 4
        todo = "put colours last: array.transpose(1, 2, 0)" if planar else "pass one image, colours last"
        raise LabelwiseError(given, expected, todo)
    if array.dtype not in (np.uint8, np.uint16):
        is_fraction = np.issubdtype(array.dtype, np.floating) or array.dtype == bool
        hint = "(255 * array).round().astype('uint8') if it holds 0 to 1, else " if is_fraction else ""
        raise LabelwiseError(given, expected, f"convert it: {hint}array.astype('uint8') if it holds 0 to 255")


def check_tensor(image: torch.Tensor) -> None:
    """Raises `LabelwiseError` for a tensor that is not an image."""
    given = f"a tensor of {str(image.dtype).removeprefix('torch.')} {list(image.shape)}"
    expected = "uint8 [3, H, W], as labelwise.data.decode_image returns it"
    if image.ndim != 3 or image.shape[0] != 3 or not image.numel():
        colours_last = image.ndim == 3 and image.shape[-1] == 3
        raise LabelwiseError(
            given,
            expected,
            "put colours first: image.permute(2, 0, 1)" if colours_last else "pass red, green and blue",
        )
    if str(image.dtype) != "torch.uint8":
        todo = "convert it: (255 * image).round().to(torch.uint8) if it holds 0 to 1"
        raise LabelwiseError(given, expected, todo)
