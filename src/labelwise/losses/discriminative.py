"""Discriminative losses: pull features of one label together and push those of different labels apart.

Each loss returns two numbers, `intra` and `inter`, over the cells (image, label) that are known positives; an absent
label has no object and thus no feature to pull. Cosines and distances are in fp32, over the images of all processes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from labelwise.distributed import joined_rows, joined_sum, processes, rank
from labelwise.numerics import at_least_float32
from labelwise.types import Targets

Halves = tuple[Float[Tensor, ""], Float[Tensor, ""]]
Features = Float[Tensor, "B L D"]


def unit(vectors: Float[Tensor, "*S D"]) -> Float[Tensor, "*S D"]:
    """`v / sqrt(|v|^2 + 1e-12)` in fp32: unit length, and finite for a vector of zeros.

    >>> unit(torch.tensor([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    full = at_least_float32(vectors)
    return full * (full.square().sum(-1, keepdim=True) + 1e-12).rsqrt()


def present(targets: Targets) -> Bool[Tensor, "B L"]:
    """Known positive cells; soft targets count if at least 0.5."""
    return targets.known & (targets.values >= 0.5)


@dataclass(frozen=True)
class PresentCells:
    """Present cells of all processes, padded to a fixed number of rows.

    Args:
        vectors: the vector of each cell.
        label: its column.
        image: its image, distinct over processes.
        weight: 1 for a present cell, 0 for padding.
    """

    vectors: Float[Tensor, "K D"]
    label: Int[Tensor, " K"]
    image: Int[Tensor, " K"]
    weight: Float[Tensor, " K"]

    @classmethod
    def of(cls, vectors: Features, positives: Bool[Tensor, "B L"], limit: int) -> PresentCells:
        """The present cells; a random subset of `limit` over all processes if there are more.

        With a fixed number of rows the host need not wait for the number of positives. Each process has an equal share.
        """
        weights, labels = positives.flatten().to(vectors.dtype), positives.shape[1]
        share = max(1, limit // processes())
        if len(weights) > share:
            rows = (weights * (1 + torch.rand_like(weights))).topk(share, sorted=False).indices
        else:
            rows = torch.arange(len(weights), device=weights.device)
        image, label = rows // labels, rows % labels
        own_cells = vectors[image, label], label, image + (rank() << 32), weights[rows]
        return cls(*joined_rows(*own_cells))

    def differ(self, same_image: bool) -> Float[Tensor, "K K"]:
        """1 for pairs of present cells of different labels; pairs within an image count only if `same_image`."""
        apart = self.label[:, None] != self.label
        if not same_image:
            apart = apart & (self.image[:, None] != self.image)
        return apart * self.weight[:, None] * self.weight


@dataclass(frozen=True)
class _LabelSums:
    """Per label over the batch of all processes: sum of present unit vectors, of their squared lengths, and count."""

    vectors: Float[Tensor, "L D"]
    squares: Float[Tensor, " L"]
    count: Float[Tensor, " L"]

    @classmethod
    def of(cls, u: Features, positives: Float[Tensor, "B L"]) -> _LabelSums:
        squares = (positives * u.square().sum(-1)).sum(0)
        columns = [torch.einsum("bl,bld->ld", positives, u), squares[:, None], positives.sum(0)[:, None]]
        sums = joined_sum(torch.cat(columns, 1))
        return cls(sums[:, :-2], sums[:, -2], sums[:, -1])

    def pairs(self) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Sum of cosines over pairs of cells of one label, and the number of pairs."""
        cosines = _pair_cosines(self.vectors, self.squares, self.count)
        return cosines.sum(), _pair_number(self.count).sum()


class PairwiseLoss(nn.Module):
    """Cosines of pairs of label features, `u = f / |f|`.

        intra = mean over pairs of one label of 1 - u . u'
        inter = mean over pairs of different labels of max(0, u . u' - m);  with `hinge=False`, of u . u'

    `intra`, and `inter` without the hinge, are functions of per-label sums: exact at O(B L D). The hinge uses the pairs
    of at most `cells` cells, and is exact if there are no more present cells.

    Args:
        margin: m, in [-1, 1].
        same_image: whether two labels of one image form a pair.
        hinge: `False` for orthogonal projection, which lowers the mean cosine.
        cells: largest number of cells that form pairs in the hinge, over all processes.

    Source: after Hassanin et al. (2021), whose equations were not available: ours. Without the hinge after Ranasinghe
    et al., "Orthogonal Projection Loss" (2021), whose released code takes no absolute value of the mean cosine either.

    >>> f = torch.tensor([[[1.0, 0.0], [0.5, 0.75**0.5]]])
    >>> tuple(round(x.item(), 4) for x in PairwiseLoss()(f, Targets.of(torch.ones(1, 2))))
    (0.0, 0.5)
    """

    def __init__(
        self, margin: float = 0.0, same_image: bool = True, hinge: bool = True, cells: int = 512
    ) -> None:
        super().__init__()
        self.margin, self.same_image, self.hinge, self.cells = margin, same_image, hinge, cells

    def forward(self, features: Features, targets: Targets) -> Halves:
        """`intra` pulls features of one label together; `inter` pushes those of different labels apart."""
        with torch.autocast(features.device.type, enabled=False):
            u, positives = unit(features), present(targets)
            sums = _LabelSums.of(u, positives.to(u.dtype))
            cosines, pairs = sums.pairs()
            intra = (pairs - cosines) / pairs.clamp(min=1)
            if not self.hinge:
                return intra, self._mean_cosine(sums, u, positives.to(u.dtype))
            cells = PresentCells.of(u, positives, self.cells)
            differ = cells.differ(self.same_image)
            excess = (cells.vectors @ cells.vectors.T - self.margin).clamp(min=0)
            return intra, (excess * differ).sum() / differ.sum().clamp(min=1)

    def _mean_cosine(
        self, sums: _LabelSums, u: Features, positives: Float[Tensor, "B L"]
    ) -> Float[Tensor, ""]:
        """Over pairs of cells of different labels: all pairs without those of one label, and maybe of one image."""
        squares, count = sums.squares.sum(), sums.count.sum()
        label_cosines, label_pairs = sums.pairs()
        cosines = _pair_cosines(sums.vectors.sum(0), squares, count) - label_cosines
        pairs = _pair_number(count) - label_pairs
        if not self.same_image:  # all pairs within an image are of different labels
            vectors = torch.einsum("bl,bld->bd", positives, u)
            image_cosines = _pair_cosines(vectors, (positives * u.square().sum(-1)).sum(1), positives.sum(1))
            cosines = cosines - joined_sum(image_cosines.sum())
            pairs = pairs - joined_sum(_pair_number(positives.sum(1)).sum())
        return torch.where(pairs > 0, cosines, 0) / pairs.clamp(min=1)


class OutputLoss(nn.Module):
    """The same cosines in the output space: one vector per image, with one copy per present label.

    With `v_a` the unit vector of image a's logits or probabilities, over pairs of different images a, b:

        intra = mean over pairs of copies with one label of 1 - v_a . v_b
        inter = mean over pairs of copies with different labels of max(0, v_a . v_b - m)

    Pairs of copies within an image are left out. Pairs are counted per image and not per cell: exact, and linear in L.

    Args:
        margin: m, in [-1, 1].
        space: `logits` or `probabilities`.

    Source: after Hassanin et al. (2021), whose equations were not available: ours.
    """

    def __init__(self, margin: float = 0.0, space: str = "logits") -> None:
        super().__init__()
        self.margin, self.space = margin, space

    def forward(self, logits: Float[Tensor, "B L"], targets: Targets) -> Halves:
        """`intra` pulls images with a common label together; `inter` pushes different labels apart."""
        with torch.autocast(logits.device.type, enabled=False):
            z = at_least_float32(logits)
            v = unit(z if self.space == "logits" else z.sigmoid())
            v, positives = joined_rows(v, present(targets).to(z.dtype))
            cosines = v @ v.T
            others = 1 - torch.eye(len(v), dtype=v.dtype, device=v.device)
            count, common = positives.sum(1), positives @ positives.T
            same, differ = common * others, (count[:, None] * count - common) * others
            intra = (same * (1 - cosines)).sum() / same.sum().clamp(min=1)
            return intra, (differ * (cosines - self.margin).clamp(min=0)).sum() / differ.sum().clamp(min=1)


def _pair_cosines(
    vectors: Float[Tensor, "*S D"], squares: Float[Tensor, "*S"], count: Float[Tensor, "*S"]
) -> Float[Tensor, "*S"]:
    """`(|sum u|^2 - sum |u|^2) / 2`, the sum of cosines over unordered pairs; exactly 0 without a pair."""
    return torch.where(count > 1, (vectors.square().sum(-1) - squares) / 2, 0)


def _pair_number(count: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
    """Number of unordered pairs."""
    return count * (count - 1) / 2
