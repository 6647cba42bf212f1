"""Several sizes of one image in one array, for code that expects a single array."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from labelwise.lazy import UInt8, torch

Size = tuple[int, int]


def sheet_size(sizes: Sequence[Size]) -> Size:
    """Height and width of the sheet, with the images below each other, aligned left.

    >>> sheet_size([(224, 224), (288, 288)])
    (512, 288)
    """
    return sum(height for height, _ in sizes), max(width for _, width in sizes)


def laid(views: Sequence[UInt8[torch.Tensor, "3 _ _"]]) -> UInt8[torch.Tensor, "3 h w"]:
    """One sheet of several images, black outside them."""
    sizes = [(int(view.shape[1]), int(view.shape[2])) for view in views]
    sheet = torch.zeros(3, *sheet_size(sizes), dtype=torch.uint8)
    for view, target in zip(views, parts(sheet, sizes), strict=True):
        target.copy_(view)
    return sheet


def parts(sheets: torch.Tensor, sizes: Sequence[Size]) -> list[torch.Tensor]:
    """The images of a sheet, or of a batch of sheets `[..., h, w]`, with unchanged pixels."""
    tops = accumulate((height for height, _ in sizes), initial=0)
    return [sheets[..., top : top + h, :w] for top, (h, w) in zip(tops, sizes, strict=False)]
