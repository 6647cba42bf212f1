"""Learnable centres of labels: close to their own label's features and far from those of other labels."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from labelwise.distributed import joined_sum
from labelwise.losses.discriminative import Features, Halves, PresentCells, present, unit
from labelwise.numerics import at_least_float32
from labelwise.types import Targets


class CentreLoss(nn.Module):
    """A learnable unit centre `c_l` for each label, pulled to the label's features and pushed from all others.

        intra = mean over cells of 1 - u . c_l
        inter = mean over cells and j != l of max(0, u . c_j - m_c)  +  mean over j != k of max(0, c_j . c_k - m)

    It works with one image per label, since a batch seldom has two. Without a present cell both are 0.

    Args:
        num_labels: L.
        dim: D.
        margin: m, in [-1, 1].
        centre_margin: m_c, in [-1, 1].
        cells: largest number of cells in the first part of `inter`, over all processes.

    Source: after Hassanin et al. (2021), whose equations were not available: ours.
    """

    def __init__(
        self,
        num_labels: int,
        dim: int,
        margin: float = 0.0,
        centre_margin: float = 0.3,
        cells: int = 512,
    ) -> None:
        super().__init__()
        self.margin, self.centre_margin, self.cells = margin, centre_margin, cells
        self.centres = nn.Parameter(unit(torch.randn(num_labels, dim)))

    @torch.no_grad()
    def renormalise(self) -> None:
        """Normalise the stored centres to unit length; the loss depends only on their directions."""
        self.centres.copy_(unit(self.centres))

    def forward(self, features: Features, targets: Targets) -> Halves:
        """`intra` pulls features to their centre; `inter` pushes features from other centres, and centres apart."""
        with torch.autocast(features.device.type, enabled=False):
            u, c, positives = unit(features), unit(self.centres), present(targets)
            distance = (1 - (u * c).sum(-1)).masked_fill(~positives, 0)
            number = joined_sum(positives.sum().to(u.dtype))
            intra = joined_sum(distance.sum()) / number.clamp(min=1)
            cells = PresentCells.of(u, positives, self.cells)
            is_other = _other_labels(cells, len(c))
            excess = (cells.vectors @ c.T - self.centre_margin).clamp(min=0) * is_other
            centre_excess = (c @ c.T - self.margin).clamp(min=0).fill_diagonal_(0).sum()
            centre_excess = centre_excess / max(1, len(c) * (len(c) - 1)) * (number > 0)
            return intra, excess.sum() / is_other.sum().clamp(min=1) + centre_excess


class PrototypeConformity(nn.Module):
    """Prototype conformity (PCL): squared distances to two separate sets of learnable centres.

        intra = mean over cells of |f - c_l|^2
        inter = - mean over cells and j != l of |f - c'_j|^2

    `inter` is unbounded, so its weight must be small. Distances are clamped to [1e-12, 1e12].

    Args:
        num_labels: L.
        dim: D.
        intra: use the centres `c`; without them `intra` is 0.
        inter: use the centres `c'`; without them `inter` is 0.
        cells: largest number of cells in `inter`, over all processes.

    Source: Mustafa et al., "Adversarial Defense by Restricting the Hidden Space of Deep Neural Networks" (2019).
    Differs: known positive labels replace the single class; centres are trained with all other parameters.
    """

    def __init__(
        self, num_labels: int, dim: int, intra: bool = True, inter: bool = True, cells: int = 512
    ) -> None:
        super().__init__()
        self.cells = cells
        self.near = nn.Parameter(torch.randn(num_labels, dim) * dim**-0.5) if intra else None
        self.far = nn.Parameter(torch.randn(num_labels, dim) * dim**-0.5) if inter else None

    def forward(self, features: Features, targets: Targets) -> Halves:
        """`intra` pulls features to their centre; `inter` pushes them from the centres of other labels."""
        with torch.autocast(features.device.type, enabled=False):
            f, positives = at_least_float32(features), present(targets)
            intra = inter = f.new_zeros(())
            if self.near is not None:
                distance = _clamped_distance((f - self.near).square().sum(-1)).masked_fill(~positives, 0)
                number = joined_sum(positives.sum().to(f.dtype))
                intra = joined_sum(distance.sum()) / number.clamp(min=1)
            if self.far is not None:
                cells = PresentCells.of(f, positives, self.cells)
                is_other = _other_labels(cells, len(self.far))
                squared_lengths = cells.vectors.square().sum(1, keepdim=True) + self.far.square().sum(1)
                distance = _clamped_distance(squared_lengths - 2 * cells.vectors @ self.far.T)
                inter = -(distance * is_other).sum() / is_other.sum().clamp(min=1)
            return intra, inter


def _other_labels(cells: PresentCells, labels: int) -> Float[Tensor, "K L"]:
    """1 for each label other than that of a present cell."""
    return cells.weight[:, None] * (cells.label[:, None] != torch.arange(labels, device=cells.label.device))


def _clamped_distance(distance: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
    return distance.clamp(1e-12, 1e12)
