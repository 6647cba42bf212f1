"""Contrast of a label's features between images with and without the label."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from labelwise.numerics import at_least_float32
from labelwise.types import Targets

NegativePairs = Literal["repel", "none"]


def bounded_unit(features: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
    """Features scaled to unit length in fp32; the factor, and that of the gradient, is at most 1000."""
    return F.normalize(at_least_float32(features), dim=2, eps=1e-3)


def pair_contrast(
    features: Float[Tensor, "B L D"], targets: Targets, negneg: NegativePairs = "repel"
) -> Float[Tensor, ""]:
    """Contrast of all pairs of images of a batch, per label, by the cosine `c` of their features.

        both known present: 1 - c;   one present, one absent: 1 + c;   both known absent: 1 + c

    Unknown cells form no pair. With `n > 0` pairs of the first kind, each of the other kinds is reduced to the `n`
    hardest (largest `c`) and `2 n` random pairs of the rest. The loss is the mean over all pairs, and 0 without any.

    Args:
        features: `[B, L, D]`, not normalised.
        targets: `[B, L]`.
        negneg: `repel` as above; `none` leaves out pairs of two negatives.

    Source: the contrastive term of SST, SARB and DSRB (2022).
    Differs: no pair is counted twice; pairs are within one process's share of the batch.

    >>> f = torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]], [[0.0, 1.0]]])
    >>> round(pair_contrast(f, Targets.of(torch.tensor([[1.0], [1.0], [0.0]]))).item(), 4)
    0.6667
    """
    with torch.autocast(features.device.type, enabled=False):
        units = bounded_unit(features).transpose(0, 1)
        i, j = torch.triu_indices(len(features), len(features), 1, device=features.device)
        cosine = (units @ units.transpose(1, 2))[:, i, j].flatten()
        present = (targets.known & (targets.values >= 0.5)).T
        absent = targets.known.T & ~present
        both_present = (present[:, i] & present[:, j]).flatten()
        one_present = (present[:, i] & absent[:, j] | absent[:, i] & present[:, j]).flatten()
        number = both_present.sum()
        repelled = _counted_pairs(cosine.detach(), one_present, number)
        if negneg == "repel":
            repelled |= _counted_pairs(cosine.detach(), (absent[:, i] & absent[:, j]).flatten(), number)
        total = torch.where(both_present, 1 - cosine, 0).sum() + torch.where(repelled, 1 + cosine, 0).sum()
        return total / (number + repelled.sum()).clamp(min=1)


def _counted_pairs(
    cosine: Float[Tensor, " N"], pairs: Bool[Tensor, " N"], number: Int[Tensor, ""]
) -> Bool[Tensor, " N"]:
    """The pairs that count: the `number` hardest and `2 number` random others; all of them if `number` is 0."""
    hardest = pairs & _largest(cosine.masked_fill(~pairs, -torch.inf), number)
    others = pairs & ~hardest
    random_pairs = others & _largest(torch.rand_like(cosine).masked_fill(~others, -1), 2 * number)
    return torch.where(number > 0, hardest | random_pairs, pairs)


def _largest(key: Float[Tensor, " N"], number: Int[Tensor, ""]) -> Bool[Tensor, " N"]:
    """Mask of the `number` largest; `number` is not copied to the host."""
    order = key.argsort(descending=True)
    ranks = torch.arange(len(key), device=key.device)
    return torch.empty_like(order).scatter_(0, order, ranks) < number
