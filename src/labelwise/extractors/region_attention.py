"""MCAR's attentional regions: every label is scored again in the regions of the strongest labels."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from labelwise.extractors.attentive import Attentive
from labelwise.extractors.normalise import MapNorm, MapNormKind
from labelwise.extractors.transformer import as_tokens
from labelwise.numerics import at_least_float32
from labelwise.options import Count, Rate
from labelwise.registry import EXTRACTORS
from labelwise.types import LabelFeatures


@EXTRACTORS.register("region-attention")
class RegionAttention(Attentive):
    """One classifier on the whole map and on the regions of the most likely labels.

    With tokens `x_p`, the class activation `c_lp = <w_l, x_p>`, the pool `v_R` of a region divided by its root mean
    square, and `R_0` the whole map:

        z_0l = <w_l, v_{R_0}> + b_l
        for the K labels k of highest z_0:
          R_k = the rows and columns around the peak of max(c_k, 0) whose highest value is at least `threshold` of it
          z_kl = <w_l, v_{R_k}> + b_l
        z_l = max_k z_kl,  f_l = v_R of the region that gave the maximum

    The selection of regions has no gradient. The logits are the extractor's own and equal `<w_l, f_l> + b_l`.
    `branches` holds the logits of the whole map and the maximum over regions, which the loss uses as well.

    Args:
        channels: C of the map, the width of the features.
        num_labels: L.
        regions: K, at most L of them are used.
        threshold: share of the peak in (0, 1] that bounds a region.
        pool: `mean` or `max` over the locations of a region.
        map_dropout: rate in [0, 1) of dropping whole channels of the map.
        normalise: scale of the map, see `MapNorm`.

    Raises:
        LabelwiseError: `regions` below 1, or a threshold outside (0, 1].

    Source: after Gao and Zhou, "Learning to Discover Multi-Class Attentional Regions for Multi-Label Image
    Recognition" (2021).
    Differs: regions are cut from the map, not from the image, so the backbone runs once and small objects are not
    enlarged; logits in place of probabilities; a region is the contiguous run of rows and columns around the peak;
    pooled features are scaled to one size, since the mean of a few locations is larger than that of all.

    >>> out = RegionAttention(8, num_labels=3)(torch.rand(2, 8, 5, 7), want_maps=True)
    >>> out.logits.shape, out.features.shape, out.maps.sum((2, 3)).allclose(torch.ones(2, 3))
    (torch.Size([2, 3]), torch.Size([2, 3, 8]), True)
    """

    own_logits: ClassVar[bool] = True

    def __init__(
        self,
        channels: int,
        num_labels: int,
        regions: Count = 4,
        threshold: Annotated[float, Field(gt=0, le=1)] = 0.5,
        pool: Literal["mean", "max"] = "mean",
        map_dropout: Rate = 0.25,
        normalise: MapNormKind = "mean",
    ) -> None:
        super().__init__()
        self.regions = min(regions, num_labels)
        self.threshold, self.pool, self.dim = threshold, pool, channels
        self.norm = MapNorm(channels, normalise)
        self.map_dropout = nn.Dropout2d(map_dropout)
        bound = channels**-0.5
        self.weight = nn.Parameter(torch.empty(num_labels, channels).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(num_labels))

    def forward(self, x: Float[Tensor, "B C h w"], want_maps: bool = False) -> LabelFeatures:
        """Label features of a map with their logits, optionally with evidence maps."""
        size = x.shape[2:]
        tokens = self.attended(as_tokens(self.map_dropout(self.norm(x)))).transpose(1, 2)
        whole = tokens.new_ones(x.shape[0], 1, tokens.shape[2], dtype=torch.bool)
        pooled = self._pool(tokens, whole)
        logits = self._logits(pooled)
        regions = self._regions(tokens.detach(), logits[:, 0].detach(), size)
        inside = torch.cat([whole, regions], 1)
        pooled = torch.cat([pooled, self._pool(tokens, regions)], 1)
        logits = self._logits(pooled)
        best, winner = logits.max(1)
        features = pooled.gather(1, winner.unsqueeze(2).expand(-1, -1, pooled.shape[2]))
        maps = self._evidence(tokens, inside, winner).unflatten(2, size) if want_maps else None
        branches = {"whole": logits[:, 0].contiguous(), "regions": logits[:, 1:].amax(1)}
        return LabelFeatures(features, maps, best, branches=branches)

    def _logits(self, pooled: Float[Tensor, "B K C"]) -> Float[Tensor, "B K L"]:
        return at_least_float32(nn.functional.linear(pooled, self.weight)) + self.bias

    def _pool(self, tokens: Float[Tensor, "B C P"], inside: Bool[Tensor, "B K P"]) -> Float[Tensor, "B K C"]:
        if self.pool == "mean":
            full = inside.to(torch.promote_types(tokens.dtype, torch.float32))
            v = (full / full.sum(2, keepdim=True)).to(tokens.dtype) @ tokens.transpose(1, 2)
        else:
            own = inside.unsqueeze(2).unbind(1)
            v = torch.stack([tokens.masked_fill(~places, -torch.inf).amax(2) for places in own], 1)
        return nn.functional.normalize(v, dim=2) * v.shape[2] ** 0.5

    def _regions(
        self, tokens: Float[Tensor, "B C P"], logits: Float[Tensor, "B L"], size: torch.Size
    ) -> Bool[Tensor, "B K P"]:
        """Locations inside the box of each of the strongest labels."""
        chosen = logits.topk(self.regions).indices
        cam = torch.einsum("bkc,bcp->bkp", self.weight.detach()[chosen], tokens).float().unflatten(2, size)
        rows = self._run(cam.clamp(min=0).amax(3))
        columns = self._run(cam.clamp(min=0).amax(2))
        return (rows.unsqueeze(3) & columns.unsqueeze(2)).flatten(2)

    def _run(self, profile: Float[Tensor, "B K n"]) -> Bool[Tensor, "B K n"]:
        """The contiguous run around the peak; the whole profile if it has no positive value."""
        peak, at = profile.max(2, keepdim=True)
        high = profile >= self.threshold * peak
        gaps = (~high).cumsum(2)
        return high & (gaps == gaps.gather(2, at))

    def _evidence(
        self, tokens: Float[Tensor, "B C P"], inside: Bool[Tensor, "B K P"], winner: Tensor
    ) -> Float[Tensor, "B L P"]:
        """The label's class activation inside the region of its logit."""
        own = inside.gather(1, winner.unsqueeze(2).expand(-1, -1, inside.shape[2]))
        cam = torch.einsum("lc,bcp->blp", self.weight, tokens).float()
        return cam.masked_fill(~own, -torch.inf).softmax(2)
