"""The setting of test-time augmentation: the views of an image that are averaged."""

from __future__ import annotations

from labelwise.data.sheet import Size
from labelwise.errors import LabelwiseError

NONE, FLIP, SCALES = "none", "flip", "multi-scale"
LARGER, UNIT = 1.25, 32
"""The second size is 1.25 of the first, rounded up to a multiple of 32."""


def resolved(test_time: str, side: int) -> str:
    """The setting with an explicit size: `none`, `flip` or `multi-scale=SIDE`.

    Args:
        test_time: one of these, or `multi-scale` without a size.
        side: of the images, in pixels.

    Raises:
        LabelwiseError: an unknown value, or a second size that is not larger than the first.

    >>> resolved("multi-scale", 224)
    'multi-scale=288'
    """
    name, _, side_text = test_time.partition("=")
    if test_time in (NONE, FLIP):
        return test_time
    if test_time == SCALES:
        return f"{SCALES}={int(-(-side * LARGER // UNIT) * UNIT)}"
    if name != SCALES or not side_text.isascii() or not side_text.isdigit():
        raise LabelwiseError(
            f"test_time = {test_time!r}", "none, flip, multi-scale or multi-scale=SIDE", "correct the setting"
        )
    if not side < int(side_text) <= 4096:
        raise LabelwiseError(
            f"test_time = {test_time!r} with images of {side} px",
            f"a larger second side, from {side + 1} to 4096",
            "write multi-scale, which chooses one",
        )
    return f"{SCALES}={int(side_text)}"


def larger_of(test_time: str, size: Size) -> Size | None:
    """Height and width of the second view of a resolved setting; `None` if there is only one size."""
    name, _, side = test_time.partition("=")
    if name != SCALES:
        return None
    height, width = size
    larger_width = max(UNIT, round(width * int(side) / height / UNIT) * UNIT)
    return int(side), int(side) if width == height else larger_width
