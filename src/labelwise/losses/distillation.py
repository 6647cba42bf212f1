"""Distillation losses: on a teacher's scores and on its label features."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from labelwise.losses.contrast import bounded_unit
from labelwise.numerics import at_least_float32
from labelwise.types import Targets


def score_divergence(
    logits: Float[Tensor, "B L"], scores: Float[Tensor, "B L"], temperature: float = 1.0
) -> Float[Tensor, "B L"]:
    """KL divergence of each cell's score from a teacher's score.

        T^2 (q log(q / p) + (1 - q) log((1 - q) / (1 - p))),   p = sigmoid(z / T)

    It is the binary cross-entropy with the soft target q minus the entropy of q, so that it is 0 if both agree.

    Args:
        logits: `[B, L]`, z.
        scores: `[B, L]` in [0, 1], q: the teacher's scores at the same temperature.
        temperature: T, > 0.

    Source: Hinton et al., "Distilling the Knowledge in a Neural Network" (2015).
    Differs: one sigmoid per label in place of the softmax.

    >>> round(score_divergence(torch.zeros(1, 1), torch.tensor([[0.9]])).item(), 4)
    0.3681
    """
    with torch.autocast(logits.device.type, enabled=False):
        z, q = at_least_float32(logits) / temperature, at_least_float32(scores)
        minus_entropy = torch.xlogy(q, q) + torch.xlogy(1 - q, 1 - q)
        return temperature**2 * (F.binary_cross_entropy_with_logits(z, q, reduction="none") + minus_entropy)


def feature_distance(
    features: Float[Tensor, "B L E"], taught: Float[Tensor, "B L E"]
) -> Float[Tensor, "B L"]:
    """`1 - cos` between the label features of two models, per cell.

    >>> feature_distance(torch.tensor([[[2.0, 0.0]]]), torch.tensor([[[0.0, 1.0]]])).item()
    1.0
    """
    with torch.autocast(features.device.type, enabled=False):
        return 1 - (bounded_unit(features) * bounded_unit(taught)).sum(2)


def presence(targets: Targets, logits: Float[Tensor, "B L"]) -> Float[Tensor, "B L"]:
    """Probability that each label is present: its state if known, else the teacher's score.

    >>> presence(Targets.of(torch.tensor([[1.0, 0.0, float("nan")]])), torch.zeros(1, 3)).tolist()
    [[1.0, 0.0, 0.5]]
    """
    return torch.where(targets.known, targets.values, logits.sigmoid())
