"""Mixup and CutMix: each image of a batch is combined with another one, and so are their label states."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from labelwise.types import Batch, Targets

Per = Literal["batch", "pair"]


def mixed(batch: Batch, mixup: float = 0.0, per: Per = "batch", cutmix: float = 0.0) -> Batch:
    """The batch after `mix` or `cut_mix`, whichever is not 0; unchanged if both are 0."""
    if cutmix:
        return cut_mix(batch, cutmix)
    return mix(batch, mixup, per) if mixup else batch


def mix(batch: Batch, alpha: float, per: Per = "batch") -> Batch:
    """Blend a batch with itself reversed: `x <- t x + (1 - t) x'`, `y <- t y + (1 - t) y'`.

    `t = max(s, 1 - s)` with `s ~ Beta(alpha, alpha)` from torch's global generator. A label is known only if it is
    known in both images.

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

    `y <- a y + (1 - a) y'`, with `a` the share of pixels (or of map locations) that stay. Image i is paired with image
    B - 1 - i. Each pair samples `t ~ Beta(alpha, alpha)` and a uniform centre of a box with sides `sqrt(1 - t)` of the
    image's, clipped at its edges. A label is known if it is known in both images, or in the only one that is visible.

    Args:
        alpha: greater than 0; with 1 the area is uniform.

    Source: Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features" (2019).
    Differs: one box per pair instead of one per batch.

    >>> batch = Batch(torch.rand(2, 3, 8, 8), Targets.of(torch.eye(2)), torch.arange(2))
    >>> cut_mix(batch, 1.0).targets.values.sum().item()
    2.0
    """
    height, width = batch.images.shape[-2:]
    t = _shares(batch, alpha, "pair")
    device = batch.images.device
    centres = _paired(torch.rand(_num_pairs(batch), 2), len(t))
    inside = []
    for size, relative_centre in zip((height, width), centres.T, strict=True):
        half = (size * (1 - t).sqrt() / 2).round()
        centre = (size * relative_centre).floor()
        low, high = ((centre - half).clamp(0, size), (centre + half).clamp(0, size))
        pixels = torch.arange(size)
        inside.append((pixels >= low[:, None]) & (pixels < high[:, None]))
    box: Bool[Tensor, "B h w"] = inside[0][:, :, None] & inside[1][:, None, :]
    kept_share = 1 - box.flatten(1).float().mean(1)
    images = torch.where(box[:, None].to(device), batch.images.flip(0), batch.images)
    taught = batch.taught and batch.taught.joined(kept_share)
    return replace(batch, images=images, targets=_blended(batch.targets, kept_share), taught=taught)


def _num_pairs(batch: Batch) -> int:
    return -(-len(batch.index) // 2)


def _shares(batch: Batch, alpha: float, per: Per) -> Float[Tensor, " B"]:
    """`[B]` samples, equal for both images of a pair, or for the whole batch."""
    rows = len(batch.images)
    samples = torch.distributions.Beta(alpha, alpha).sample((_num_pairs(batch),) if per == "pair" else ())
    return _paired(samples, rows) if per == "pair" else samples.expand(rows)


def _paired(samples: Tensor, rows: int) -> Tensor:
    """Samples of the first half of the rows, repeated for their partners; a middle row is its own partner."""
    return torch.cat([samples, samples.flip(0)[rows % 2 :]])


def _blended(targets: Targets, share: Float[Tensor, " B"]) -> Targets:
    """Targets blended with themselves reversed; known if the label is known in every image with a nonzero share."""
    share = share.to(targets.values)[:, None]
    y, known = targets.values, targets.known
    both_known = (known | (share == 0)) & (known.flip(0) | (share == 1))
    return Targets(torch.where(both_known, share * y + (1 - share) * y.flip(0), 0.0), both_known)
