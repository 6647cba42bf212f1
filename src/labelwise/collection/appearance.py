"""Appearance of the place of a label: an early stage of the backbone, and colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, normalize

from labelwise.types import LabelSet

Box = tuple[float, float, float, float]
BODY: dict[str, Box] = {
    "head": (0.35, 0.03, 0.65, 0.14),
    "upper body": (0.35, 0.2, 0.65, 0.45),
    "lower body": (0.32, 0.52, 0.68, 0.75),
    "feet": (0.2, 0.88, 0.8, 0.98),
}
"""`x0, y0, x1, y1` of parts of a person in a pedestrian crop, in fractions; chosen on val of PETA. The evidence of
such labels lies in other parts too: how formal trousers are shows in the jacket."""
SIDES = 4
"""Parts of each of red, green and blue; a colour is one of their 64 combinations."""
STRIDE = 4
"""Largest stride of the early stage: later stages keep less of a colour."""


def colours(images: UInt8[Tensor, "B 3 H W"], size: tuple[int, int]) -> Float[Tensor, "B 64 h w"]:
    """The share of each colour among the pixels of each cell of a grid of `size`.

    >>> red = torch.tensor([255, 0, 0], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 4, 6)
    >>> colours(red, (2, 3))[0, :, 1, 2].argmax().item()
    48
    """
    (count, _, height, width), (rows, columns) = images.shape, size
    levels = (images.long() * SIDES) // 256
    colour = (levels[:, 0] * SIDES + levels[:, 1]) * SIDES + levels[:, 2]
    y = torch.arange(height, device=images.device) * rows // height
    x = torch.arange(width, device=images.device) * columns // width
    index = (y[:, None] * columns + x) + torch.arange(count, device=images.device)[
        :, None, None
    ] * rows * columns
    total = SIDES**3
    counts = torch.bincount((index * total + colour).flatten(), minlength=count * rows * columns * total)
    shares = counts.view(count, rows, columns, total).permute(0, 3, 1, 2).float()
    return shares / shares.sum(1, keepdim=True).clamp_min(1)


def early_stage(net: Any) -> tuple[nn.Module, int] | None:
    """The last stage of a timm network with a stride of at most 4, and its channels; `None` if it has no such stage."""
    fine_stages = [
        stage for stage in getattr(net, "feature_info", ()) if stage.get("reduction", 32) <= STRIDE
    ]
    if not fine_stages or not fine_stages[-1].get("module"):
        return None
    try:
        return net.get_submodule(fine_stages[-1]["module"]), int(fine_stages[-1]["num_chs"])
    except AttributeError:  # removed with the later stages, see `stage` of TimmBackbone
        return None


def as_map(features: Any, channels: int) -> Float[Tensor, "B C H W"] | None:
    """The output of a stage as a map; `None` if it is none."""
    if not isinstance(features, Tensor) or features.ndim != 4:
        return None
    if features.shape[1] == channels:
        return features
    return features.permute(0, 3, 1, 2) if features.shape[3] == channels else None


def body_regions(labels: LabelSet) -> dict[int, Box]:
    """The region of each label that the readers of pedestrian attributes group by a part of the body."""
    if not all(part in labels.groups for part in BODY):
        return {}
    return {labels.index(name): box for part, box in BODY.items() for name in labels.groups[part].labels}


def known_regions(labels: LabelSet, declared: Mapping[str, Sequence[float]]) -> dict[int, Box]:
    """The region of each label that has one: as declared, else that of its part of the body.

    Args:
        labels: the labels.
        declared: top, bottom, left and right by label, see `PlacePrior`.
    """
    boxes = {name: (left, top, right, bottom) for name, (top, bottom, left, right) in declared.items()}
    return body_regions(labels) | {labels.index(name): box for name, box in boxes.items()}


def places(maps: Float[Tensor, "B L h w"], regions: Mapping[int, Box]) -> Float[Tensor, "B L H W"]:
    """The weight of each place, with sum 1: a label's evidence, or its region where it has one.

    Args:
        maps: evidence, each with sum 1.
        regions: `x0, y0, x1, y1` in fractions of the image, by the label's number.

    Returns:
        on the grid of the evidence, or with regions on one of twice its rows and columns.

    >>> places(torch.ones(1, 2, 1, 1), {1: (0.0, 0.5, 1.0, 1.0)})[0, :, :, 0].tolist()
    [[0.25, 0.25], [0.0, 0.5]]
    """
    if not regions:
        return maps.float()
    # A region needs finer places than evidence.
    weights = maps.float().repeat_interleave(2, 2).repeat_interleave(2, 3) / 4
    for label, (x0, y0, x1, y1) in regions.items():
        rows, columns = _overlap(weights.shape[2], y0, y1), _overlap(weights.shape[3], x0, x1)
        weights[:, label] = (rows[:, None] * columns).to(weights.device)
    return weights


def _overlap(count: int, low: float, high: float) -> Float[Tensor, " n"]:
    """The share of a range in [0, 1] that lies in each of `count` equal parts."""
    edges = torch.linspace(0, 1, count + 1).clamp(low, high)
    return edges.diff() / (high - low)


def appearance(
    images: UInt8[Tensor, "B 3 H W"],
    early: Float[Tensor, "B C Y X"] | None,
    weights: Float[Tensor, "B L h w"],
) -> Float[Tensor, "B L E"]:
    """Weighted means over the places of an image, for each label.

        g_l = normalise(sum_p W_lp early_p),   c_l = normalise(sqrt(sum_p W_lp colours_p)),   out_l = [g_l, c_l]

    with the early map and the colours averaged over the cells of the weights. Without an early map, only `c_l`.

    Args:
        images: the pixels that the backbone sees.
        early: map of an early stage.
        weights: of each place, with sum 1, see `places`.
    """
    size, weights = (weights.shape[2], weights.shape[3]), weights.flatten(2)
    shares = colours(images, size).flatten(2).transpose(1, 2)
    parts = [normalize((weights @ shares).sqrt(), dim=-1)]
    if early is not None:
        cells = adaptive_avg_pool2d(early.float(), size).flatten(2).transpose(1, 2)
        parts.insert(0, normalize(weights @ cells, dim=-1))
    return torch.cat(parts, -1)
