"""A term: a loss that is added to that of any method."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from labelwise.options import Weight
from labelwise.registry import TERMS
from labelwise.terms.term import Examples, HeadSizes, Step


@TERMS.register("confidence")
class ConfidenceTerm(nn.Module):
    """A penalty of confident scores: minus the mean entropy of the known cells.

    Args:
        sizes: of the head.
        weight: of the term, 0 or more; 0 turns it off.

    Source: Pereyra et al., "Regularizing Neural Networks by Penalizing Confident Output Distributions" (2017).
    """

    needs_maps: ClassVar[bool] = False

    def __init__(self, sizes: HeadSizes, weight: Weight = 0.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, step: Step) -> dict[str, Tensor]:
        """Weighted `confidence`."""
        z, known = step.output.logits, step.targets.known
        p = z.sigmoid()
        entropy = p * F.softplus(-z) + (1 - p) * F.softplus(z)
        mean = (entropy * known).sum() / known.sum().clamp(min=1)
        return {"confidence": -self.weight * mean}

    def start_epoch(self, epoch: int, epochs: int, examples: Examples) -> None:
        """Does nothing."""
