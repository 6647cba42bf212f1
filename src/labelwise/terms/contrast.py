"""Contrast between images as an additional loss term."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from labelwise.losses.contrast import NegativePairs, pair_contrast
from labelwise.options import Natural, Weight
from labelwise.registry import TERMS
from labelwise.terms.term import Examples, HeadSizes, Step


@TERMS.register("contrast")
class ContrastTerm(nn.Module):
    """Contrasts a label's features between images with and without it: see `losses.contrast.pair_contrast`.

    The weight rises linearly over the first `rise` steps, which the buffer `steps` counts. The features are those
    before any relation.

    Args:
        sizes: of the head.
        weight: of the term, >= 0; 0 turns it off; 0.05 in the papers.
        rise: steps over which the weight rises; one epoch in the papers.
        negneg: pairs of two negatives: `repel` pushes them apart as in the papers, `none` leaves them out.

    Source: the contrastive term of SST, SARB and DSRB (2022).
    """

    needs_maps = False
    steps: Tensor

    def __init__(
        self, sizes: HeadSizes, weight: Weight = 0.0, rise: Natural = 100, negneg: NegativePairs = "repel"
    ) -> None:
        super().__init__()
        self.weight, self.rise, self.negneg = weight, rise, negneg
        self.register_buffer("steps", torch.tensor(0))

    def forward(self, step: Step) -> dict[str, Tensor]:
        """Weighted `contrast`."""
        ramp = ((self.steps + 1) / max(1, self.rise)).clamp(max=1)
        if self.training:
            self.steps += 1
        return {
            "contrast": self.weight * ramp * pair_contrast(step.output.decoupled, step.targets, self.negneg)
        }

    def start_epoch(self, epoch: int, epochs: int, examples: Examples) -> None:
        """Does nothing."""
