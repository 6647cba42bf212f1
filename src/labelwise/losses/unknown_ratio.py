"""Learning from positives and unlabelled images: the variational loss of PU-MLC."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from jaxtyping import Int64
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from labelwise.distributed import joined_rows
from labelwise.losses.functional import Mask
from labelwise.losses.unknown import Facts, Strategy, StrategyInputs, UpToTen, Verdict
from labelwise.registry import STRATEGIES


@STRATEGIES.register("vpu")
class VariationalPositives(Strategy):
    """vPU: contrasts a label's known positives with all images of the batch; no cell is assumed absent.

        whole = mean over labels with a positive of  w log mean_b q - mean over the label's positives of log q

    `q = sigmoid(z / t)`, `t = min(1, alpha std_b(z))` and at least .05, `w = (mean_b sigmoid(z))^gamma`; `t` and `w`
    are per label and have no gradient.

    Args:
        facts: of the training rows.
        alpha: of the temperature, over 0 and up to 100.
        gamma: of the weight, from 0 to 10.

    Source: Yuan et al., "Positive Label Is All You Need for Multi-Label Classification" (2023).
    Differs: known negatives keep the chosen loss; the temperature has a floor; no mixup term.
    """

    treatment: ClassVar[str] = "compared with known positives, label by label"

    def __init__(
        self, facts: Facts, alpha: Annotated[float, Field(gt=0, le=100)] = 1.0, gamma: UpToTen = 0.0
    ) -> None:
        super().__init__()
        self.alpha, self.gamma = alpha, gamma

    def forward(self, inputs: StrategyInputs) -> Verdict:
        """Zeros that do not count in the mean, and the loss of the batch."""
        zeros = torch.zeros_like(inputs.logits)
        z, counted, present = joined_rows(inputs.logits, inputs.counts.byte(), inputs.present.byte())
        whole = self._loss(z, counted.bool(), present.bool())
        return Verdict(zeros, present=zeros, whole=whole)

    def counted(self, hidden: Mask, index: Int64[Tensor, " B"]) -> Mask:
        """No cell counts in the mean."""
        return torch.zeros_like(hidden)

    def _loss(self, z: Tensor, counted: Tensor, present: Tensor) -> Tensor:
        """`whole` of the equations; `counted` marks the cells of images, as opposed to filler rows."""
        number = counted.sum(0).clamp(min=1)
        scaled = z / self._temperature(z.detach(), counted, number)
        log_p = F.logsigmoid(scaled)
        # Not -inf, since a label without any cell would have a NaN gradient.
        all_images = log_p.masked_fill(~counted, -1e9).logsumexp(0) - number.to(z.dtype).log()
        positives = present.sum(0)
        mean = torch.where(present, log_p, 0).sum(0) / positives.clamp(min=1)
        weight = (torch.sigmoid(z.detach()) * counted).sum(0) / number
        cells = torch.where(positives > 0, weight**self.gamma * all_images - mean, 0)
        return cells.sum() / (positives > 0).sum().clamp(min=1)

    def _temperature(self, z: Tensor, counted: Tensor, number: Tensor) -> Tensor:
        """`t` of each label."""
        mean = (z * counted).sum(0) / number
        variance = ((z - mean).square() * counted).sum(0) / number
        return (self.alpha * variance.sqrt()).clamp(0.05, 1.0)
