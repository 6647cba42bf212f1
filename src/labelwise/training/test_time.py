"""Test-time augmentation as a setting: the views of an image that a run answers by."""

from __future__ import annotations

from labelwise.data.sheet import Size
from labelwise.errors import LabelwiseError

NONE, FLIP, SCALES = "none", "flip", "multi-scale"
LARGER, UNIT = 1.25, 32
"""The second size is the next multiple of 32 from 1.25 of the first on."""


def resolved(test_time: str, side: int) -> str:
    """The setting with its size spelled out: `none`, `flip` or `multi-scale=SIDE`.

    Args:
        test_time: these, or `multi-scale` alone.
        side: of the images, in pixels.

    Raises:
        LabelwiseError: another word, or a second size that is not the larger one.

    >>> resolved("multi-scale", 224)
    'multi-scale=288'
    """
    word, _, given = test_time.partition("=")
    if test_time in (NONE, FLIP):
        return test_time
    if test_time == SCALES:
        return f"{SCALES}={int(-(-side * LARGER // UNIT) * UNIT)}"
    if word != SCALES or not given.isascii() or not given.isdigit():
        raise LabelwiseError(
            f"test_time = {test_time!r}", "none, flip, multi-scale or multi-scale=SIDE", "correct the setting"
        )
    if not side < int(given) <= 4096:
        raise LabelwiseError(
            f"test_time = {test_time!r} with images of {side} px",
            f"a larger second side, from {side + 1} to 4096",
            "write multi-scale, which chooses one",
        )
    return f"{SCALES}={int(given)}"


def larger_of(test_time: str, size: Size) -> Size | None:
    """Height and width of the second view of a resolved setting; `None` where there is one size alone."""
    word, _, side = test_time.partition("=")
    if word != SCALES:
        return None
    height, width = size
    wide = max(UNIT, round(width * int(side) / height / UNIT) * UNIT)
    return int(side), int(side) if width == height else wide
