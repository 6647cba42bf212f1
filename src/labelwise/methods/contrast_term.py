"""Contrast between images as a further term of the loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from labelwise.losses.contrast import NegativePairs, pair_contrast
from labelwise.methods.method import Examples, HeadSizes, Step
from labelwise.methods.schedule import within


class ContrastTerm(nn.Module):
    """A label's features alike where it is present, unlike where it is not: see `losses.contrast.pair_contrast`.

    The weight rises linearly over the first `rise` steps, which the buffer `steps` counts. The features are those
    before any relation.

    Args:
        sizes: of the head.
        weight: of the term, >= 0; 0 leaves it out; 0.05 in the papers.
        rise: steps over which the weight rises; the papers' is one epoch.
        negneg: pairs of two absences: `repel` pushes them apart as the papers do, `none` leaves them out.

    Source: the contrastive term of SST, SARB and DSRB (2022).
    """

    needs_maps = False
    steps: Tensor

    def __init__(
        self, sizes: HeadSizes, weight: float = 0.0, rise: int = 100, negneg: NegativePairs = "repel"
    ) -> None:
        super().__init__()
        within("contrast.weight", weight, 0)
        within("contrast.rise", rise, 0)
        self.weight, self.rise, self.negneg = weight, rise, negneg
        self.register_buffer("steps", torch.tensor(0))

    def forward(self, step: Step) -> dict[str, Tensor]:
        """`contrast`, weighted."""
        risen = ((self.steps + 1) / max(1, self.rise)).clamp(max=1)
        if self.training:
            self.steps += 1
        return {
            "contrast": self.weight * risen * pair_contrast(step.output.decoupled, step.targets, self.negneg)
        }

    def start_epoch(self, epoch: int, epochs: int, examples: Examples) -> None:
        """Nothing is learned between epochs."""
