"""Image sizes that a backbone accepts, decided by its description and a blank image before anything is computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any

import torch

from labelwise.backbones import TimmBackbone
from labelwise.backbones.description import VERIFIED, accepts_any_size, family_of, native_size
from labelwise.data.sheet import Size
from labelwise.errors import LabelwiseError, first_line
from labelwise.runs.config import Config
from labelwise.runs.test_time import SCALES, resolved

USUAL = (224, 256, 240, 288, 320, 384, 192, 448, 512)
"""Sides in pixels that are tried after a network's own."""


def fitted(config: Config, say: Callable[[str], None]) -> Config:
    """Settings with image sizes that the backbone accepts.

    A size that the user did not set becomes one that works, with one note: `image_size` the network's own, `train_size`
    that of `image_size`. Networks that accept any size, and defaults that work, stay as they are.

    Args:
        config: all settings; `image_size` is the user's if it was set explicitly.
        say: prints a line to the user.

    Raises:
        LabelwiseError: the user set a size that the network does not accept, or no size works.
    """
    b = config.backbone
    is_default = config.image_size == 224 and not config.train_size and not config.image_width
    if accepts_any_size(b.name) or (is_default and family_of(b.name) in VERIFIED):
        return config
    is_set = "image_size" in config.model_fields_set or bool(config.image_width)
    changes: dict[str, Any] = {}
    if reason := size_refusal(b.name, b.stage, config.image_size, config.one_view().size):
        sides = accepted(b.name, b.stage)
        if is_set or not sides:
            width = f" and image_width = {config.image_width}" if config.image_width else ""
            raise _size_error(
                f"image_size = {config.image_size}{width}", b.name, reason, sides, "--image-size"
            )
        changes["image_size"] = sides[0]
        if config.test_time == resolved(SCALES, config.image_size):
            changes["test_time"] = resolved(SCALES, sides[0])
        config = config.model_copy(update=changes)
    if not b.freeze:
        size = config.train_transform(stride_of(b.name, b.stage, config.image_size)).size
        reason = size_refusal(b.name, b.stage, config.image_size, size)
        if reason and config.train_size:
            setting = f"train_size = {config.train_size}"
            raise _size_error(setting, b.name, reason, (config.image_size,), "--set train_size")
        if reason:
            changes["train_size"] = config.image_size
            config = config.model_copy(update={"train_size": config.image_size})
            if config.image_width and config.train_transform(1).size != config.one_view().size:
                width = f"image_width = {config.image_width}"
                raise _size_error(width, b.name, reason, (config.image_size,), "--image-size")
    if changes:
        listed = ", ".join(f"{name} {value}" for name, value in changes.items())
        say(f"note: {b.name} does not accept the default sizes of images: {listed}")
    return config


def sides_of(config: Config, sides: Sequence[int]) -> tuple[int, ...]:
    """Those of some sides in pixels that the backbone accepts; its own if it accepts none of them.

    Raises:
        LabelwiseError: no size works.
    """
    b = config.backbone
    if accepts_any_size(b.name):
        return tuple(sides)
    usable = tuple(side for side in sides if size_refusal(b.name, b.stage, side, (side, side)) is None)
    if not usable and not (usable := accepted(b.name, b.stage)[:1]):
        raise _size_error("images", b.name, size_refusal(b.name, b.stage, sides[0]) or "", (), "")
    return usable


@cache
def accepted(name: str, stage: int = -1) -> tuple[int, ...]:
    """Sides in pixels that a network accepts: its own, then the usual ones; at most four."""
    sides: list[int] = []
    for side in dict.fromkeys((native_size(name), *USUAL)):
        if len(sides) < 4 and size_refusal(name, stage, side) is None:
            sides.append(side)
    return tuple(sides)


def stride_of(name: str, stage: int, side: int) -> int:
    """Pixels per place of a network's map, built for images of a side."""
    return _random_backbone(name, stage, side, _device(name, stage)).stride


@cache
def size_refusal(name: str, stage: int, side: int, size: Size | None = None) -> str | None:
    """Why a network cannot compute a blank image; `None` if it can.

    Args:
        name: timm model name.
        stage: of the map, -1 for the last.
        side: in pixels, for which the network is built.
        size: height and width of the image, by default this side.
    """
    device = _device(name, stage)
    try:
        backbone = _random_backbone(name, stage, side, device)  # which computes an image of this side
        if size in (None, (side, side)):
            return None
        assert size is not None
        maps = backbone(torch.zeros(1, 3, *size, device=device))
    except Exception as error:  # networks refuse a size by nearly any exception
        cause = error.__cause__ if isinstance(error, LabelwiseError) else None
        return first_line(cause or error)
    return None if maps.ndim == 4 and maps.shape[2] and maps.shape[3] else f"a map of {list(maps.shape)}"


@cache
def _device(name: str, stage: int) -> str:
    """`meta`, which computes shapes alone, if the network supports it at its own size; else `cpu`."""
    try:
        _random_backbone(name, stage, native_size(name), "meta")
    except Exception:  # an operation that needs values, or a network that refuses its own size
        return "cpu"
    return "meta"


@lru_cache(maxsize=1)
def _random_backbone(name: str, stage: int, side: int, device: str) -> TimmBackbone:
    """A randomly initialised backbone; the random state is unchanged."""
    with torch.random.fork_rng([]), torch.device(device):
        return TimmBackbone(name, "none", side, freeze=True, stage=stage).eval()


def _size_error(given: str, name: str, reason: str, sides: Sequence[int], option: str) -> LabelwiseError:
    """The error for a size that a network does not accept, with the sides that it does."""
    if not sides:
        return LabelwiseError(
            f"{given} for backbone {name!r} ({reason})",
            "a network from images to maps",
            "choose another --backbone",
        )
    return LabelwiseError(
        f"{given} for backbone {name!r} ({reason})",
        f"a size that it accepts, such as {', '.join(map(str, sides))}",
        f"write {option}{'=' if ' ' in option else ' '}{sides[0]}, or leave it out",
    )
