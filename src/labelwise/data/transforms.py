"""Image transforms on uint8 tensors, with keyed and therefore reproducible randomness."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from labelwise.data.decode import MAX_PIXELS, decode_image
from labelwise.data.fixed import shrink_to
from labelwise.data.pixels import BITS
from labelwise.data.resizing import window
from labelwise.data.sheet import laid, sheet_size
from labelwise.lazy import UInt8, torch, v2

Share = Annotated[float, Field(gt=0, le=1)]
Side = Annotated[int, Field(ge=8, le=4096)]
MID_GREY = 128


class TransformConfig(BaseModel):
    """How an image becomes a square (or a given rectangle) of pixels.

    `image_size`, `resize` and `bits` always apply, the other settings only in training.

    The defaults keep nearly the whole scene, because a crop without a labelled object makes its label wrong.
    Set `flip` to 0 where mirrored images have another meaning (digits, text, left and right).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    image_size: Side | tuple[Side, Side] = Field(224, description="side in pixels, or (height, width)")
    resize: Literal["squash", "crop"] = Field(
        "squash", description="squash: the whole image, aspect changed; crop: the largest part of that aspect"
    )
    bits: int = Field(
        BITS,
        ge=8,
        le=BITS,
        description="bits that 16-bit grey images use, such as 12 for unscaled pixels of a camera",
    )
    flip: float = Field(0.5, ge=0, le=1, description="probability of mirroring left and right")
    multi_scale: tuple[Share, ...] = Field(
        (1.0, 0.875, 0.75), description="relative sides, one random per image, placed at random; () means 1.0"
    )
    pad: int = Field(0, ge=0, description="pixels of black border from which a random window is cut")
    randaugment_ops: int = Field(0, ge=0, le=8, description="operations of RandAugment per image; 0 is off")
    randaugment_magnitude: int = Field(9, ge=0, le=30, description="strength of each operation")
    cutout: float = Field(0.0, ge=0, lt=1, description="side of a grey hole, share of the image; 0 is off")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.image_size if isinstance(self.image_size, tuple) else (self.image_size, self.image_size)

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Height and width of each view of an image in the fixed transform."""
        return (self.size,)

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the result of the fixed transform: of the view, or of the sheet of several."""
        return sheet_size(self.sizes)


class TwoSizes(TransformConfig):
    """An image at two sizes, each resized from the whole image, on one sheet."""

    larger: tuple[Side, Side] = Field(description="height and width of the second view")

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """The size, then the larger one."""
        return self.size, self.larger


class ImageTransform:
    """uint8 `[3, H, W]` -> uint8 `[3, h, w]` by one configuration.

    In training: window (`resize`, `multi_scale`) -> resize -> pad and shift -> flip -> RandAugment -> cutout,
    with random numbers from torch's global generator (see `keyed`). Otherwise: central window -> resize, without
    randomness; for `TwoSizes` both sizes on one sheet.

    Args:
        config: the settings.
        train: whether to apply random augmentation.
    """

    def __init__(self, config: TransformConfig, train: bool) -> None:
        self.config, self.train = config, train
        self._views = [config.model_copy(update={"image_size": size}) for size in config.sizes]
        ops, magnitude = config.randaugment_ops, config.randaugment_magnitude
        self._randaugment = v2.RandAugment(ops, magnitude, fill=[MID_GREY] * 3) if train and ops else None

    def accept(self, pixels: UInt8[np.ndarray, "3 H W"]) -> UInt8[torch.Tensor, "3 H W"]:
        """Decoded pixels in the form that the transform takes."""
        return torch.from_numpy(pixels)

    def with_bits(self, bits: int) -> ImageTransform:
        """The same transform for images whose 16-bit grey uses `bits` bits."""
        return ImageTransform(self.config.model_copy(update={"bits": bits}), self.train)

    @property
    def shrink_to(self) -> int:
        """The side in pixels that `decode_image(shrink_to=)` must keep so that no window is enlarged."""
        scales = self.config.multi_scale if self.train else ()
        return shrink_to(self.config.sizes, min(scales, default=1.0))

    def decode(
        self, source: Path | str | bytes, *, max_pixels: int = MAX_PIXELS, notes: list[str] | None = None
    ) -> UInt8[torch.Tensor, "3 H W"]:
        """Decodes an image with these settings, at no larger a scale than they need."""
        return decode_image(
            source, max_pixels=max_pixels, shrink_to=self.shrink_to, bits=self.config.bits, notes=notes
        )

    def __call__(self, image: UInt8[torch.Tensor, "3 H W"]) -> UInt8[torch.Tensor, "3 h w"]:
        if not self.train:
            views = [_window(image, view, False) for view in self._views]
            return laid(views) if len(views) > 1 else views[0]
        image = _window(image, self.config, True)
        if self.config.pad:
            image = _shifted(image, self.config.pad)
        if self.config.flip and torch.rand(()) < self.config.flip:
            image = image.flip(-1)
        if self._randaugment is not None:
            image = self._randaugment(image)
        return _cut_out(image, self.config.cutout) if self.config.cutout else image


def build_transform(config: TransformConfig, train: bool) -> ImageTransform:
    """The transform of a configuration: random for training, fixed otherwise.

    >>> transform = build_transform(TransformConfig(image_size=32), train=False)
    >>> tuple(transform(torch.zeros(3, 50, 80, dtype=torch.uint8)).shape)
    (3, 32, 32)
    """
    return ImageTransform(config, train)


def keyed(
    transform: Callable[[torch.Tensor], torch.Tensor], image: torch.Tensor, seed: int, epoch: int, index: int
) -> torch.Tensor:
    """Applies a transform with randomness that depends only on (seed, epoch, index).

    torch's global generator is seeded from a hash of the key for the call, and restored after it. So neither the
    number of workers nor a restart changes the result.
    """
    digest = hashlib.blake2b(struct.pack("<qqq", seed, epoch, index), digest_size=8).digest()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int.from_bytes(digest, "little") >> 1)
        return transform(image)


def _window(image: torch.Tensor, config: TransformConfig, train: bool) -> torch.Tensor:
    """A window of the image, resized to the configured size: one resampling for crop, scale and squash."""
    height, width = image.shape[-2:]
    rows, columns = config.size
    scales = config.multi_scale if train else ()
    scale = scales[int(torch.randint(len(scales), ()))] if scales else 1.0
    extent = window(height, width, config.size, config.resize, scale)
    top, left = (_offset(free, train) for free in (height - extent[0], width - extent[1]))
    pixels = image[:, top : top + extent[0], left : left + extent[1]]
    if extent == (rows, columns):
        return pixels
    # Channels-last memory enables torch's vectorised uint8 path.
    pixels = pixels.unsqueeze(0).contiguous(memory_format=torch.channels_last)
    return v2.functional.resize(
        pixels, [rows, columns], interpolation=v2.InterpolationMode.BICUBIC, antialias=True
    )[0]


def _offset(free: int, train: bool) -> int:
    """The first pixel of a window with `free` pixels beside it: random in training, else central."""
    return int(torch.randint(free + 1, ())) if train and free else free // 2


def _shifted(image: torch.Tensor, pad: int) -> torch.Tensor:
    """A window at a random place of the image with a black border of `pad` pixels."""
    height, width = image.shape[-2:]
    top, left = (int(offset) for offset in torch.randint(2 * pad + 1, (2,)))
    return v2.functional.pad(image, [pad])[:, top : top + height, left : left + width]


def _cut_out(image: torch.Tensor, share: float) -> torch.Tensor:
    """The image with a grey hole at a random place, with sides of `share` of the image's."""
    height, width = image.shape[-2:]
    half_height, half_width = share * height / 2, share * width / 2
    y, x = (torch.rand(2) * torch.tensor([height, width])).tolist()
    image = image.clone()
    rows = slice(max(0, round(y - half_height)), max(0, round(y + half_height)))
    columns = slice(max(0, round(x - half_width)), max(0, round(x + half_width)))
    image[:, rows, columns] = MID_GREY
    return image
