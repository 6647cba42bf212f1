"""One shared pooled feature for all labels, used by the baselines."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from labelwise.extractors.normalise import MapNorm, MapNormKind
from labelwise.options import Natural, Rate
from labelwise.registry import EXTRACTORS
from labelwise.types import LabelFeatures


@EXTRACTORS.register("pooled")
class Pooled(nn.Module):
    """One pooled vector for every label: `f_l = g(pool_p x_p)` for all `l`.

    `g` is the identity, or with `hidden` a linear map and GELU, the pooled MLP; with `per_place` it is applied before
    pooling, `f_l = pool_p g(x_p)`. The features are an expanded view and cost no memory. There are no attention maps:
    `places` returns the classifier's input for each location alone, from which the model computes class activation
    maps.

    Args:
        channels: C of the map.
        num_labels: L.
        pool: `mean` (GAP) or `max` (GMP) over locations.
        hidden: width of the hidden layer; 0 for none.
        per_place: apply the hidden layer to each location, and pool its outputs.
        dropout: rate in [0, 1) on the output of the hidden layer.
        map_dropout: rate in [0, 1) of dropping whole channels of the map.
        normalise: scale of the map, see `MapNorm`.

    >>> import torch
    >>> Pooled(4, num_labels=3)(torch.rand(2, 4, 5, 5)).features.shape
    torch.Size([2, 3, 4])
    """

    def __init__(
        self,
        channels: int,
        num_labels: int,
        pool: Literal["mean", "max"] = "mean",
        hidden: Natural = 0,
        per_place: bool = False,
        dropout: Rate = 0.0,
        map_dropout: Rate = 0.0,
        normalise: MapNormKind = "mean",
    ) -> None:
        super().__init__()
        self.num_labels, self.pool, self.per_place = num_labels, pool, per_place
        self.dim = hidden or channels
        self.norm = MapNorm(channels, normalise)
        self.map_dropout = nn.Dropout2d(map_dropout)
        self.hidden = nn.Sequential(nn.Linear(channels, hidden), nn.GELU()) if hidden else nn.Identity()
        self.dropout = nn.Dropout(dropout if hidden else 0.0)

    def forward(self, x: Float[Tensor, "B C h w"], want_maps: bool = False) -> LabelFeatures:
        """Label features of a map."""
        if self.per_place:
            pooled = self._pool(self.places(x).transpose(1, 2))
        else:
            pooled = self.hidden(self._pool(self.map_dropout(self.norm(x)).flatten(2)))
        features = self.dropout(pooled).unsqueeze(1).expand(-1, self.num_labels, -1)
        return LabelFeatures(features, shared=self.num_labels > 1)

    def _pool(self, x: Float[Tensor, "B D P"]) -> Float[Tensor, "B D"]:
        return x.mean(2) if self.pool == "mean" else x.amax(2)

    def places(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B P D"]:
        """`g(x_p)`: the feature of each location alone."""
        return self.hidden(self.map_dropout(self.norm(x)).flatten(2).transpose(1, 2))

    def weights(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "L P"] | None:
        """The weight of each location for each label; `None` for equal ones."""
        return None
