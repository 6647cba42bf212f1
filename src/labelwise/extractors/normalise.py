"""Normalises the scale of the backbone's map before the head."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from labelwise.numerics import at_least_float32

MapNormKind = Literal["none", "mean", "rms", "layer", "batch"]


class MapNorm(nn.Module):
    """Normalises a map so that one recipe serves every backbone and resolution.

    `mean`: divides the image's map by the root mean square of its mean feature, so that the pooled feature has unit
    scale at every resolution (a larger map is sparser, with a smaller mean); the result is at most ten times that of
    `rms`. `rms`: divides by the root mean square of the whole map. Both keep all ratios within the image.
    `layer`: layer norm over the channels of each location. `batch`: zero mean and unit variance of each channel over
    batch and locations. `none`: unchanged. None of them has learnable parameters.

    Args:
        channels: C of the map.
        kind: one of the above.

    >>> x = torch.full((1, 2, 3, 3), 40.0)
    >>> MapNorm(2, "mean")(x).unique().tolist()
    [1.0]
    """

    def __init__(self, channels: int, kind: MapNormKind = "mean") -> None:
        super().__init__()
        self.kind = kind
        self.batch_norm = nn.BatchNorm2d(channels, affine=False) if kind == "batch" else None

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        """The map at unit scale."""
        if self.batch_norm is not None:
            return batch_normed(self.batch_norm, x)
        if self.kind in ("mean", "rms"):
            # Squares of a half-precision map may overflow, so means are in fp32 or wider.
            full = at_least_float32(x)
            mean_square = full.square().mean((1, 2, 3), keepdim=True)
            if self.kind == "mean":
                of_mean = full.mean((2, 3), keepdim=True).square().mean(1, keepdim=True)
                mean_square = torch.maximum(of_mean, mean_square / 100)
            return (x * (mean_square + 1e-12).rsqrt()).to(x.dtype)
        if self.kind == "layer":
            return F.layer_norm(x.movedim(1, -1), (x.shape[1],)).movedim(-1, 1)
        return x


def batch_normed(norm: nn.BatchNorm2d, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
    """Batch norm; a batch of one image with one location has no variance and uses the running statistics."""
    if norm.training and x.numel() == x.shape[1]:
        return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
    return norm(x)
