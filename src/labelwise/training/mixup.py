"""Mixup and CutMix: each image of a batch joined with another one, and their label states with them."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from labelwise.types import Batch, Targets

Per = Literal["batch", "pair"]


def mixed(batch: Batch, mixup: float = 0.0, per: Per = "batch", cutmix: float = 0.0) -> Batch:
    """The batch as settings join its images: by `mix` or by `cut_mix`, whichever is not 0, or as it is."""
    if cutmix:
        return cut_mix(batch, cutmix)
    return mix(batch, mixup, per) if mixup else batch


def mix(batch: Batch, alpha: float, per: Per = "batch") -> Batch:
    """Blend a batch with itself reversed: `x <- t x + (1 - t) x'`, `y <- t y + (1 - t) y'`.

    `t` is drawn from Beta(alpha, alpha) by torch's global generator and taken as at least a half. A label is known
    where it is known of both images.

    Args:
        alpha: greater than 0; the smaller, the nearer `t` stays to 1.
        per: one `t` a batch, or one for each pair of images.

    Source: Zhang et al., "mixup: Beyond Empirical Risk Minimization" (2018).

    >>> batch = Batch(torch.rand(2, 3, 8, 8), Targets.of(torch.eye(2)), torch.arange(2))
    >>> mix(batch, 0.2).targets.values.sum().item()
    2.0
    """
    share = _shares(batch, alpha, per)
    share = torch.maximum(share, 1 - share)
    images = batch.images if batch.images.is_floating_point() else batch.images.float() / 255
    t = share.to(images)[:, None, None, None]
    images = t * images + (1 - t) * images.flip(0)
    taught = batch.taught and batch.taught.joined(share)
    return replace(batch, images=images, targets=_blended(batch.targets, share), taught=taught)


def cut_mix(batch: Batch, alpha: float) -> Batch:
    """Paste a box of another image into each image of a batch; targets blend by the area of the box.

    `y <- a y + (1 - a) y'`, with `a` the share of pixels (of places of a map) that stay. For each pair, of an image and
    the one as far from the batch's other end, `t` is drawn from Beta(alpha, alpha) and a middle for a box whose
    sides are `sqrt(1 - t)` of the image's, cut at its edges. A label is known where it is known of both images, or of
    the one that alone is left to see.

    Args:
        alpha: greater than 0; 1 draws every area alike.

    Source: Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features" (2019).
    Differs: a box for each pair in place of one a batch.

    >>> batch = Batch(torch.rand(2, 3, 8, 8), Targets.of(torch.eye(2)), torch.arange(2))
    >>> cut_mix(batch, 1.0).targets.values.sum().item()
    2.0
    """
    height, width = batch.images.shape[-2:]
    t = _shares(batch, alpha, "pair")
    device = batch.images.device
    middles = _paired(torch.rand(_pairs(batch), 2), len(t))
    inside = []
    for size, middle in zip((height, width), middles.T, strict=True):
        half = (size * (1 - t).sqrt() / 2).round()
        at = (size * middle).floor()
        low, high = ((at - half).clamp(0, size), (at + half).clamp(0, size))
        places = torch.arange(size)
        inside.append((places >= low[:, None]) & (places < high[:, None]))
    box: Bool[Tensor, "B h w"] = inside[0][:, :, None] & inside[1][:, None, :]
    stays = 1 - box.flatten(1).float().mean(1)
    images = torch.where(box[:, None].to(device), batch.images.flip(0), batch.images)
    taught = batch.taught and batch.taught.joined(stays)
    return replace(batch, images=images, targets=_blended(batch.targets, stays), taught=taught)


def _pairs(batch: Batch) -> int:
    return -(-len(batch.index) // 2)


def _shares(batch: Batch, alpha: float, per: Per) -> Float[Tensor, " B"]:
    """`[B]` draws, alike for both images of a pair, or for all."""
    rows = len(batch.images)
    drawn = torch.distributions.Beta(alpha, alpha).sample((_pairs(batch),) if per == "pair" else ())
    return _paired(drawn, rows) if per == "pair" else drawn.expand(rows)


def _paired(drawn: Tensor, rows: int) -> Tensor:
    """Draws of the first half of the rows, given to their partners too; a middle row is its own partner."""
    return torch.cat([drawn, drawn.flip(0)[rows % 2 :]])


def _blended(targets: Targets, share: Float[Tensor, " B"]) -> Targets:
    """Targets blended with themselves reversed; known where every image that has a share is known."""
    share = share.to(targets.values)[:, None]
    y, known = targets.values, targets.known
    both = (known | (share == 0)) & (known.flip(0) | (share == 1))
    return Targets(torch.where(both, share * y + (1 - share) * y.flip(0), 0.0), both)
