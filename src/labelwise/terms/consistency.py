"""Group consistency as an additional loss term: labels of a group attend to the same locations."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from labelwise.distributed import joined_sum
from labelwise.errors import LabelwiseError
from labelwise.losses.discriminative import present
from labelwise.options import Count, Natural, Share, Weight
from labelwise.registry import TERMS
from labelwise.terms.term import Examples, HeadSizes, Step


@TERMS.register("consistency")
class ConsistencyTerm(nn.Module):
    """A running mean of the attention maps of each label group, used as the target of the maps.

    With `A_l` the map of label l on the memory's grid, `G_g` the memory of group g, over known positive labels:

        G_g <- m G_g + (1 - m) mean of A_l over those with p_l >= 1/2, scaled to sum 1
        loss = weight * mean over cells of |A_l - stopgrad(G_g(l))|^2

    The memory of a group starts with its first mean. The term assumes that objects are at the same position in every
    image, as in crops of pedestrians.

    Args:
        sizes: of the head, with its groups of labels.
        weight: factor of the term, >= 0.
        momentum: m, in [0, 1].
        warmup: epochs in which the memory is filled while the loss is 0.
        rows: rows of the memory's grid; maps are averaged onto it.
        columns: columns of the memory's grid.

    Raises:
        LabelwiseError: labels without groups, or an option is out of range.

    Source: after DAFL (Jia et al., 2022), group attention merging and group consistency loss; the equations are ours.
    Differs: the memory has its own fixed grid, so that it can be saved and used for all map sizes of one aspect ratio.
    """

    needs_maps: ClassVar[bool] = True
    memory: Tensor
    seen: Tensor
    label_of: Tensor
    group_of: Tensor

    def __init__(
        self,
        sizes: HeadSizes,
        weight: Weight = 0.0,
        momentum: Share = 0.9,
        warmup: Natural = 1,
        rows: Count = 7,
        columns: Count = 7,
    ) -> None:
        super().__init__()
        members = [(label, g) for g, labels in enumerate(sizes.groups) for label in labels]
        if not members:
            raise LabelwiseError(
                "consistency.weight for labels without groups",
                "labels in groups, LabelSet(names, groups={name: Group(labels)})",
                "name the groups or set the weight to 0",
            )
        self.weight, self.momentum, self.warmup, self.grid = weight, momentum, warmup, (rows, columns)
        places = rows * columns
        self.register_buffer("memory", torch.full((len(sizes.groups), places), 1 / places))
        self.register_buffer("seen", torch.zeros(len(sizes.groups), dtype=torch.bool))
        label_of, group_of = torch.tensor(members).unbind(1)
        self.register_buffer("label_of", label_of.contiguous(), persistent=False)
        self.register_buffer("group_of", group_of.contiguous(), persistent=False)

    def forward(self, step: Step) -> dict[str, Tensor]:
        """Weighted `consistency`; during the warm-up a 0 that is connected to the graph."""
        maps = step.output.maps
        assert maps is not None, "a term with needs_maps gets maps"
        with torch.autocast(maps.device.type, enabled=False):
            a = self.on_grid(maps)[:, self.label_of]
            positive = present(step.targets)
            if self.training:
                confident = positive & (step.output.logits.detach() >= 0)
                self._update_memory(a.detach(), confident[:, self.label_of])
            cells = (positive[:, self.label_of] & self.seen[self.group_of]).to(a.dtype)
            distance = (a - self.memory.to(a.dtype)[self.group_of]).square().sum(2)
            mean = joined_sum((cells * distance).sum()) / joined_sum(cells.sum()).clamp(min=1)
            return {"consistency": (self.weight if step.epoch >= self.warmup else 0.0) * mean}

    def on_grid(self, maps: Float[Tensor, "B L h w"]) -> Float[Tensor, "B L P"]:
        """Maps averaged onto the memory's grid, each summing to 1.

        Raises:
            LabelwiseError: the maps have another aspect ratio than the memory.
        """
        (h, w), (rows, columns) = maps.shape[2:], self.grid
        if h * columns != w * rows:
            raise LabelwiseError(
                f"maps of {h} x {w} places for a group memory of {rows} x {columns}",
                "maps of the memory's aspect ratio, since a location must mean the same in every image",
                "set consistency.rows and consistency.columns to the map's",
            )
        a = F.adaptive_avg_pool2d(maps, self.grid).flatten(2)
        return a / a.sum(2, keepdim=True).clamp(min=1e-12)

    def _update_memory(self, a: Float[Tensor, "B M P"], confident: Bool[Tensor, "B M"]) -> None:
        """Update the memory of the groups that have confident labels in this step, over all processes."""
        weight = confident.to(a.dtype)
        sums = a.new_zeros(len(self.memory), a.shape[2] + 1)
        contributions = torch.cat([torch.einsum("bm,bmp->mp", weight, a), weight.sum(0)[:, None]], 1)
        sums = joined_sum(sums.index_add(0, self.group_of, contributions)).to(self.memory.dtype)
        updated = sums[:, -1] > 0
        mean = sums[:, :-1] / sums[:, -1:].clamp(min=1)
        keep = (self.seen.to(self.memory.dtype) * self.momentum)[:, None]
        mixed = keep * self.memory + (1 - keep) * mean
        mixed = mixed / mixed.sum(1, keepdim=True).clamp(min=1e-12)
        self.memory.copy_(torch.where(updated[:, None], mixed, self.memory))
        self.seen.logical_or_(updated)

    def start_epoch(self, epoch: int, epochs: int, examples: Examples) -> None:
        """Does nothing: the memory is updated in every step."""
