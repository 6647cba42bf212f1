"""Losses for labels of very different frequency: logit adjustment, and the distribution-balanced loss."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from labelwise.losses import functional as L
from labelwise.losses.classification import CellLoss
from labelwise.losses.functional import Reduction
from labelwise.numerics import at_least_float32
from labelwise.options import Positive, Weight
from labelwise.registry import LOSSES


def prior_log_odds(positives: Float[Tensor, " L"], known: Float[Tensor, " L"]) -> Float[Tensor, " L"]:
    """`log (n + 1) / (N - n + 1)`: log-odds of a label among its known training cells, finite for every count.

    Args:
        positives: `[L]`, n, training images with the label as a known positive.
        known: `[L]`, N, training images in which its state is known.

    >>> prior_log_odds(torch.tensor([0.0, 5.0]), torch.tensor([0.0, 10.0])).tolist()
    [0.0, 0.0]
    """
    return torch.log((positives + 1) / (known - positives + 1))


def rebalancing_weights(
    values: Float[Tensor, "B L"],
    positives: Float[Tensor, " L"],
    alpha: float = 0.1,
    beta: float = 10.0,
    mu: float = 0.3,
) -> Float[Tensor, "B L"]:
    """Weight of each cell: the smoothed share of this label in the class-aware sampling frequency of the image.

    `r_il = (1 / n_l) / sum_m y_im / n_m`, `w = alpha + sigmoid(beta (r - mu))`. The sum is over known positives; for
    an image without any, r is 1.

    Args:
        values: `[B, L]` in [0, 1]; 0 where a cell is not known.
        positives: `[L]`, n, training images with each label as a known positive; clamped to at least 1.
        alpha: smallest weight, 0 or more.
        beta: steepness, above 0.
        mu: r at the middle of the rise.

    Source: Wu et al., "Distribution-Balanced Loss for Multi-Label Classification in Long-Tailed Datasets" (2020).
    Differs: unknown cells count as absent in the sum; images without a positive have a weight.
    """
    inverse = 1 / positives.clamp(min=1)
    repeats = (values * inverse).sum(1, keepdim=True)
    r = torch.where(repeats > 0, inverse / torch.where(repeats > 0, repeats, 1), 1.0)
    return alpha + torch.sigmoid(beta * (r - mu))


@LOSSES.register("logit-adjusted")
class LogitAdjustedLoss(CellLoss):
    """Binary cross-entropy of logits with each label's prior log-odds added, only in training.

        l = BCE(z + tau log(n / (N - n)), y)

    The score z then estimates the evidence of the image without the label's frequency; thresholds are fitted on it.

    Args:
        positives: `[L]`, training images with each label as a known positive.
        known: `[L]`, training images in which its state is known.
        tau: factor of the log-odds, 0 or more; 0 is BCE.
        reduction: `mean_known`, `label_sum` or `sum`.

    Raises:
        LabelwiseError: `tau` below 0.

    Source: after Menon et al., "Long-tail learning via logit adjustment" (2021), stated for the softmax.
    Differs: one sigmoid per label, so log-odds in place of log-priors; counts of known cells, plus one.

    >>> loss = LogitAdjustedLoss(torch.tensor([1.0]), torch.tensor([10.0]))
    >>> round(loss(torch.zeros(1, 1), torch.ones(1, 1)).item(), 6)
    1.791759
    """

    def __init__(
        self,
        positives: Float[Tensor, " L"],
        known: Float[Tensor, " L"],
        tau: Weight = 1.0,
        reduction: Reduction = "mean_known",
    ) -> None:
        super().__init__(self._adjusted_cells, reduction)
        self.tau = tau
        self.positives: Tensor
        self.known: Tensor
        self.register_buffer("positives", positives.float())
        self.register_buffer("known", known.float())

    def _adjusted_cells(self, logits: Tensor, values: Tensor) -> Tensor:
        positives, known = (count.to(logits.dtype) for count in (self.positives, self.known))
        return L.binary_cross_entropy(logits + self.tau * prior_log_odds(positives, known), values)


@LOSSES.register("distribution-balanced")
class DistributionBalancedLoss(CellLoss):
    """Weights that undo the repetitions of class-aware sampling, and negatives whose gradient vanishes early.

        u = z + kappa b,  b = log(n / (N - n)),  w: see `rebalancing_weights`
        l = w [ y f(u) + (1 - y) f(-lambda u) / lambda ],  f(v) = (1 - sigmoid(v))^gamma softplus(-v)

    The weight of a cell depends on the other known labels of its image. So strategies for unknown cells, which need
    the loss of a cell for either state, cannot be combined with it.

    Args:
        positives: `[L]`, n, training images with each label as a known positive.
        known: `[L]`, N, training images in which its state is known.
        alpha: smallest weight, 0 or more.
        beta: steepness of the weight, above 0.
        mu: r at the middle of the weight's rise.
        negative_scale: lambda, above 0; the larger, the earlier a negative's gradient vanishes.
        kappa: factor of the log-odds, 0 or more.
        gamma: focusing, 0 or more; 0 for none.
        reduction: `mean_known`, `label_sum` or `sum`.

    Raises:
        LabelwiseError: an option is out of range.

    Source: after Wu et al., "Distribution-Balanced Loss for Multi-Label Classification in Long-Tailed Datasets" (2020).
    Differs: unknown cells are masked; log-odds of known cells, with one added to each count; the released code divides
        kappa by lambda and doubles the loss.

    >>> loss = DistributionBalancedLoss(torch.tensor([5.0]), torch.tensor([10.0]), alpha=0, mu=1, gamma=0)
    >>> round(loss(torch.zeros(1, 1), torch.ones(1, 1)).item(), 6)
    0.346574
    """

    def __init__(
        self,
        positives: Float[Tensor, " L"],
        known: Float[Tensor, " L"],
        alpha: Weight = 0.1,
        beta: Positive = 10.0,
        mu: float = 0.3,
        negative_scale: Positive = 5.0,
        kappa: Weight = 0.05,
        gamma: Weight = 2.0,
        reduction: Reduction = "mean_known",
    ) -> None:
        super().__init__(self._balanced_cells, reduction)
        self.alpha, self.beta, self.mu, self.kappa, self.gamma = alpha, beta, mu, kappa, gamma
        self.negative_scale = negative_scale
        self.positives: Tensor
        self.known: Tensor
        self.register_buffer("positives", positives.float())
        self.register_buffer("known", known.float())

    def _balanced_cells(self, logits: Tensor, values: Tensor) -> Tensor:
        logits, values = at_least_float32(logits), at_least_float32(values)
        positives, known = (count.to(logits.dtype) for count in (self.positives, self.known))
        u = logits + self.kappa * prior_log_odds(positives, known)
        scale = self.negative_scale
        cells = values * self._focal(u) + (1 - values) * self._focal(-scale * u) / scale
        return rebalancing_weights(values, positives, self.alpha, self.beta, self.mu) * cells

    def _focal(self, v: Tensor) -> Tensor:
        """`f(v)` of the equations."""
        cross_entropy = F.softplus(-v)
        return torch.sigmoid(-v) ** self.gamma * cross_entropy if self.gamma else cross_entropy
