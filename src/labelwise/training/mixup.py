"""Mixup: each image of a batch blended with another one, and their label states with them."""

from __future__ import annotations

import torch

from labelwise.types import Batch, Targets


def mix(batch: Batch, alpha: float) -> Batch:
    """Blend a batch with itself reversed: `x <- t x + (1 - t) x'`, `y <- t y + (1 - t) y'`.

    One `t` a batch, drawn from Beta(alpha, alpha) by torch's global generator and taken as at least a half. A label is
    known where it is known of both images.

    Args:
        alpha: greater than 0; the smaller, the nearer `t` stays to 1.

    Source: Zhang et al., "mixup: Beyond Empirical Risk Minimization" (2018).

    >>> batch = Batch(torch.rand(2, 3, 8, 8), Targets.of(torch.eye(2)), torch.arange(2))
    >>> mix(batch, 0.2).targets.values.sum().item()
    2.0
    """
    share = torch.distributions.Beta(alpha, alpha).sample()
    t = float(torch.maximum(share, 1 - share))
    images = batch.images if batch.images.is_floating_point() else batch.images.float() / 255
    y, known = batch.targets.values, batch.targets.known & batch.targets.known.flip(0)
    values = torch.where(known, t * y + (1 - t) * y.flip(0), 0.0)
    return Batch(t * images + (1 - t) * images.flip(0), Targets(values, known), batch.index, batch.is_map)
