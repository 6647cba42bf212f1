"""Loss modules over the functional losses: logits and targets -> a scalar in fp32."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from labelwise.losses import functional as L
from labelwise.losses.functional import Reduction
from labelwise.numerics import at_least_float32
from labelwise.options import Rate, Weight, build_part, taken_arguments
from labelwise.registry import LOSSES
from labelwise.types import LabelPriors, Targets


class CellLoss(nn.Module):
    """A loss with a value for each cell; masks and reduces them.

    Args:
        cells: `(logits, values) -> [B, L]`.
        reduction: `mean_known`, `label_sum` or `sum`.
    """

    def __init__(self, cells: Callable[..., Tensor], reduction: Reduction) -> None:
        super().__init__()
        self._cells, self.reduction = cells, reduction

    def cells(self, logits: L.Cells, values: L.Cells) -> L.Cells:
        """Loss of each cell for finite values in [0, 1], known or not, in fp32."""
        return self._cells(at_least_float32(logits), at_least_float32(values))

    def divisor(self, known: Sequence[Bool[Tensor, "_ L"]]) -> Float[Tensor, ""]:
        """Divisor of each batch of a step, see `functional.common_divisor`."""
        return L.common_divisor(known, self.reduction)

    def forward(
        self,
        logits: Float[Tensor, "B L"],
        targets: Targets | Tensor,
        known: Tensor | None = None,
        divisor: Float[Tensor, ""] | None = None,
    ) -> Float[Tensor, ""]:
        """Loss of logits for `Targets`, or for a tensor of values with an optional `known` mask; see `reduce`."""
        t = Targets.of(targets, known)
        with torch.autocast(logits.device.type, enabled=False):
            # An unknown cell may hold NaN, and the reduction would not mask its NaN gradient.
            values = at_least_float32(t.values).masked_fill(~t.known, 0)
            return L.reduce(self.cells(logits, values), t.known, self.reduction, divisor)


@LOSSES.register("bce")
class BinaryCrossEntropy(CellLoss):
    """Binary cross-entropy over known cells; soft targets are allowed.

    Args:
        reduction: `mean_known`, `label_sum` or `sum`.

    >>> loss = BinaryCrossEntropy()(torch.zeros(1, 3), torch.tensor([[1.0, 0.0, float("nan")]]))
    >>> round(loss.item(), 6)
    0.693147
    """

    def __init__(self, reduction: Reduction = "mean_known") -> None:
        super().__init__(L.binary_cross_entropy, reduction)


@LOSSES.register("weighted-bce")
class WeightedBinaryCrossEntropy(CellLoss):
    """BCE weighted by each label's rate of positives.

    Args:
        positive_rate: `[L]` in [0, 1], from the known cells of the training split.
        reduction: `label_sum` is usual for attributes.

    Source: see `functional.weighted_binary_cross_entropy`.
    """

    def __init__(self, positive_rate: Float[Tensor, " L"], reduction: Reduction = "label_sum") -> None:
        super().__init__(self._weighted_cells, reduction)
        self.positive_rate: Tensor
        self.register_buffer("positive_rate", positive_rate.float())

    def _weighted_cells(self, logits: Tensor, values: Tensor) -> Tensor:
        return L.weighted_binary_cross_entropy(logits, values, self.positive_rate)


@LOSSES.register("focal")
class FocalLoss(CellLoss):
    """Focal loss: well classified cells have less weight.

    Args:
        gamma: focusing, >= 0; 0 is BCE times the class weight.
        alpha: weight of positives, that of negatives is `1 - alpha`; no class weights if 1 or more.
        reduction: `mean_known`, `label_sum` or `sum`.
    """

    def __init__(self, gamma: Weight = 2.0, alpha: float = 0.25, reduction: Reduction = "mean_known") -> None:
        super().__init__(lambda z, y: L.focal(z, y, gamma, alpha), reduction)


@LOSSES.register("asl")
class AsymmetricLoss(CellLoss):
    """Asymmetric loss: easy negatives have less weight than positives.

    Args:
        gamma_negative: focusing of negatives, >= 0.
        gamma_positive: focusing of positives, >= 0.
        margin: probability below which a negative has no loss, in [0, 1).
        detach_focal: no gradient through the focusing weights, the default of the released class; `false` is the
            default of its memory-saving variant.
        reduction: `mean_known` here; the published scripts use `sum`.

    Source: see `functional.asymmetric`.

    >>> round(AsymmetricLoss(0, 0)(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])).item(), 6)
    0.693147
    """

    def __init__(
        self,
        gamma_negative: Weight = 2.0,
        gamma_positive: Weight = 0.0,
        margin: Rate = 0.0,
        detach_focal: bool = True,
        reduction: Reduction = "mean_known",
    ) -> None:
        super().__init__(
            lambda z, y: L.asymmetric(z, y, gamma_negative, gamma_positive, margin, detach_focal), reduction
        )


def build_loss(
    name: str, positive_rate: Tensor | None = None, priors: LabelPriors | None = None, **options: Any
) -> nn.Module:
    """A registered classification loss by its name.

    Args:
        name: such as `asl`, see `labelwise.registry.LOSSES`.
        positive_rate: `[L]`, for losses that take it; by default that of the priors.
        priors: counts of the training split; a loss takes `positives`, `known` or `priors`.
        options: of the loss.

    Raises:
        LabelwiseError: unknown name or option, or a loss that takes counts without them.
    """
    counts: dict[str, Any] = {"positive_rate": positive_rate}
    if priors is not None:
        rate = priors.positive_rate if positive_rate is None else positive_rate
        counts = {
            "positive_rate": rate,
            "positives": priors.positive,
            "known": priors.known,
            "priors": priors,
        }
    loss_class = LOSSES[name]
    arguments = {k: v for k, v in taken_arguments(loss_class, counts).items() if v is not None}
    return build_part(loss_class, "loss", options, arguments, name)
