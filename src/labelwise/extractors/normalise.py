"""Scale of the backbone's map, taken out before a head reads it."""

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

    `mean`: the image's map is divided by the root mean square of its mean feature, so that what pooling gives has unit
    scale whatever the resolution (a larger map is sparser, and its mean smaller against its places), yet at most ten
    times what `rms` gives; `rms`: it is divided by the root mean square of the whole map; both keep every ratio within
    the image;
    `layer`: layer norm over the channels of each location; `batch`: each channel to zero mean and unit variance over
    batch and locations; `none`: nothing. None of them has learnable parameters.

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
            # Squares of a half-precision map overflow; means are taken in fp32 or wider.
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
    """Batch norm, by its running statistics where the batch is one image of one place, which has no variance."""
    if norm.training and x.numel() == x.shape[1]:
        return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
    return norm(x)
