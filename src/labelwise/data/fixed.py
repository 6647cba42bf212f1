"""The transform of images for prediction, on arrays without torch: central window, resize, one view or several."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from labelwise.data.decoding import MAX_PIXELS, decode_pixels
from labelwise.data.resizing import Size, resized, window
from labelwise.lazy import UInt8


@runtime_checkable
class Window(Protocol):
    """The settings that choose the part of an image that a model sees."""

    @property
    def size(self) -> Size:
        """Height and width in pixels."""

    @property
    def resize(self) -> str:
        """`squash` or `crop`."""


@runtime_checkable
class Fixed(Window, Protocol):
    """The settings of a transform without randomness."""

    @property
    def bits(self) -> int:
        """Bits per pixel that 16-bit grey images use."""

    @property
    def sizes(self) -> tuple[Size, ...]:
        """Height and width of each view."""

    @property
    def input_size(self) -> Size:
        """Height and width of the result."""


@runtime_checkable
class Transform(Protocol):
    """A transform with its decoder: `FixedTransform` on arrays, or `ImageTransform` on tensors."""

    config: Any

    def accept(self, pixels: UInt8[np.ndarray, "3 H W"]) -> Any:
        """Decoded pixels in the form that the transform takes."""

    def with_bits(self, bits: int) -> Any:
        """The same transform for images whose 16-bit grey uses `bits` bits."""

    def decode(
        self, source: Path | str | bytes, *, max_pixels: int = MAX_PIXELS, notes: list[str] | None = None
    ) -> Any:
        """The pixels of an image file."""

    def __call__(self, image: Any) -> Any:
        """The input of a model for decoded pixels."""


class FixedTransform:
    """uint8 `[3, H, W]` -> uint8 `[3, h, w]`: the same values as those of `ImageTransform` without randomness.

    Several views lie below each other on one sheet, black elsewhere.
    """

    def __init__(self, config: Fixed) -> None:
        self.config = config

    def accept(self, pixels: UInt8[np.ndarray, "3 H W"]) -> UInt8[np.ndarray, "3 H W"]:
        """Decoded pixels in the form that the transform takes."""
        return pixels

    def with_bits(self, bits: int) -> FixedTransform:
        """The same transform for images whose 16-bit grey uses `bits` bits."""
        return FixedTransform(replace(self.config, bits=bits))  # type: ignore[type-var]

    def decode(
        self, source: Path | str | bytes, *, max_pixels: int = MAX_PIXELS, notes: list[str] | None = None
    ) -> UInt8[np.ndarray, "3 H W"]:
        """Decodes an image with these settings, at no larger a scale than they need."""
        side = shrink_to(self.config.sizes)
        return decode_pixels(
            source, max_pixels=max_pixels, shrink_to=side, bits=self.config.bits, notes=notes
        )

    def __call__(self, image: UInt8[np.ndarray, "3 H W"]) -> UInt8[np.ndarray, "3 h w"]:
        views = [_view(image, size, self.config.resize) for size in self.config.sizes]
        if len(views) == 1:
            return views[0]
        sheet = np.zeros((3, *self.config.input_size), np.uint8)
        tops = accumulate((height for height, _ in self.config.sizes), initial=0)
        for view, top in zip(views, tops, strict=False):
            sheet[:, top : top + view.shape[1], : view.shape[2]] = view
        return sheet


def shrink_to(sizes: Sequence[Size], smallest_scale: float = 1.0) -> int:
    """The side in pixels that decoding must keep so that no window is enlarged."""
    return math.ceil(max(map(max, sizes)) / smallest_scale)


def shown_part(config: Window, height: int, width: int) -> tuple[float, float, float, float]:
    """The part `(x0, y0, x1, y1)` of an image, in fractions of its sides, that the fixed transform shows.

    >>> from labelwise.data.transforms import TransformConfig
    >>> shown_part(TransformConfig(image_size=32, resize="crop"), height=50, width=100)
    (0.25, 0.0, 0.75, 1.0)
    """
    rows, columns = window(height, width, config.size, config.resize)
    top, left = (height - rows) // 2, (width - columns) // 2
    return left / width, top / height, (left + columns) / width, (top + rows) / height


def _view(image: UInt8[np.ndarray, "3 H W"], size: Size, resize: str) -> UInt8[np.ndarray, "3 h w"]:
    """The central window of an image, resized to `size`."""
    height, width = image.shape[1:]
    rows, columns = window(height, width, size, resize)
    top, left = (height - rows) // 2, (width - columns) // 2
    box = image[:, top : top + rows, left : left + columns]
    return box if (rows, columns) == size else resized(box, size)
