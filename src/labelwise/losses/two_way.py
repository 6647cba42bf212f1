"""Two-way multi-label loss: ranks positives above negatives, among labels of an image and among images per label."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from labelwise.distributed import joined_rows
from labelwise.numerics import at_least_float32
from labelwise.options import Positive
from labelwise.registry import LOSSES
from labelwise.types import Targets

# Excludes a cell from a log-sum-exp; finite, so that no gradient becomes NaN.
_ABSENT = -1e9


@LOSSES.register("two-way")
class TwoWayLoss(nn.Module):
    """Ranks positive logits above negative ones, among the labels of an image and among the images of a label.

        l(S+, S-) = softplus( T_n log sum_{S-} exp(z / T_n) + T_p log sum_{S+} exp(-z / T_p) )
        loss = mean over images with a positive of l(labels)  +  mean over labels with a positive of l(images)

    An image or label without negatives adds 0. Unknown cells count as neither. The images are those of the batch over
    all processes; several batches of a step are averaged.

    Args:
        positive_temperature: `T_p`, above 0.
        negative_temperature: `T_n`, above 0.

    Raises:
        LabelwiseError: a temperature that is not above 0.

    Source: after Kobayashi, "Two-way Multi-Label Loss" (2023).
    Differs: unknown cells are masked; soft targets count as positive if at least 0.5.

    >>> loss = TwoWayLoss()(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]))
    >>> round(loss.item(), 6)
    0.693147
    """

    def __init__(self, positive_temperature: Positive = 4.0, negative_temperature: Positive = 1.0) -> None:
        super().__init__()
        self.positive_temperature, self.negative_temperature = positive_temperature, negative_temperature

    def forward(
        self, logits: Float[Tensor, "B L"], targets: Targets | Tensor, known: Tensor | None = None
    ) -> Float[Tensor, ""]:
        """Loss of logits for `Targets`, or for a tensor of values with an optional `known` mask."""
        t = Targets.of(targets, known)
        with torch.autocast(logits.device.type, enabled=False):
            states = t.known.long() * (1 + (t.values >= 0.5).long())  # 0 unknown, 1 absent, 2 present
            z, states = joined_rows(at_least_float32(logits), states)
            present, absent = states == 2, states == 1
            return self._one_way(z, present, absent) + self._one_way(z.T, present.T, absent.T)

    def _one_way(
        self, z: Float[Tensor, "n m"], present: Bool[Tensor, "n m"], absent: Bool[Tensor, "n m"]
    ) -> Float[Tensor, ""]:
        """Mean loss over rows with a positive."""
        t_p, t_n = self.positive_temperature, self.negative_temperature
        positive = t_p * (-z / t_p).masked_fill(~present, _ABSENT).logsumexp(1)
        negative = t_n * (z / t_n).masked_fill(~absent, _ABSENT).logsumexp(1)
        counted = present.any(1)
        return torch.where(counted, F.softplus(positive + negative), 0).sum() / counted.sum().clamp(min=1)
