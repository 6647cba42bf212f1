"""Blending with prototypes: an unknown label gets a soft target from a prototype of the label."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from labelwise.types import Targets


def blend_prototypes(
    features: Float[Tensor, "B L D"],
    targets: Targets,
    prototypes: Float[Tensor, "L K D"],
    counts: Float[Tensor, "L K"],
    beta: Float[Tensor, ""],
    quadrants: Int[Tensor, "B L"] | None = None,
    top_k: int = 1,
) -> tuple[Float[Tensor, "B L D"], Targets]:
    """Mix, in each image, the feature of a random unknown label with a random prototype of that label.

        f~_ic = beta f_ic + (1 - beta) P_cq;   y~_ic = 1 - beta;   k~_ic = True

    A label without a prototype is never chosen. Known cells, an image with all labels known, and a batch without any
    known cell are unchanged. Gradients reach beta through features and targets.

    Args:
        features: `[B, L, D]`.
        targets: `[B, L]`.
        prototypes: `[L, K, D]`.
        counts: `[L, K]`, cells of each prototype; empty prototypes are last, or equal the label's mean.
        beta: weight of the image's own feature, a scalar in [0, 1].
        quadrants: `[B, L]` in 0..3, where each label peaks: `q` is one of the other three of K = 4; `None` for any
            nonempty prototype.
        top_k: labels chosen per image.

    Source: prototype-level blending of SARB (2022) and DSRB.
    Differs: `q` is sampled for each image, not once for a batch.

    >>> t = Targets.of(torch.tensor([[1.0, float("nan")]]))
    >>> p, n = torch.full((2, 1, 1), 8.0), torch.ones(2, 1)
    >>> f, mixed = blend_prototypes(torch.zeros(1, 2, 1), t, p, n, torch.tensor(0.75))
    >>> f.flatten().tolist(), mixed.values.tolist(), mixed.known.tolist()
    ([0.0, 2.0], [[1.0, 0.25]], [[True, True]])
    """
    eligible = ~targets.known & (counts.sum(1) > 0) & targets.known.any()
    priority = torch.rand(eligible.shape, device=eligible.device).masked_fill(~eligible, -1)
    score, label = priority.topk(min(top_k, eligible.shape[1]), 1)
    chosen = score >= 0
    prototype = _random_prototypes(label, counts, quadrants)
    index = label.unsqueeze(2).expand(-1, -1, features.shape[2])
    own = features.gather(1, index)
    mixed = beta * own + (1 - beta) * prototypes[label, prototype].to(own.dtype)
    mixed = torch.where(chosen.unsqueeze(2), mixed, own)
    values = torch.where(chosen, 1 - beta, targets.values.gather(1, label))
    known = chosen | targets.known.gather(1, label)
    return features.scatter(1, index, mixed), Targets(
        targets.values.scatter(1, label, values), targets.known.scatter(1, label, known)
    )


def _random_prototypes(label: Tensor, counts: Tensor, quadrants: Tensor | None) -> Int[Tensor, "B k"]:
    """Index of a nonempty prototype of each chosen label, or of a quadrant other than that where it peaks."""
    if quadrants is not None:
        return (quadrants.gather(1, label) + torch.randint_like(label, 1, 4)) % 4
    number = (counts > 0).sum(1)[label]
    return (torch.rand(label.shape, device=label.device) * number).long()
