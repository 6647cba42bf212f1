"""One feature per label, pooled by class activation maps."""

from __future__ import annotations

from itertools import repeat
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from labelwise.extractors.attentive import Attentive
from labelwise.extractors.normalise import MapNorm, MapNormKind
from labelwise.extractors.regions import PlacePrior, Prior, add_prior
from labelwise.extractors.transformer import as_tokens
from labelwise.options import Count, Natural, Rate
from labelwise.registry import EXTRACTORS
from labelwise.types import LabelFeatures

Tokens = Float[Tensor, "B P C"]


@EXTRACTORS.register("class-activation")
class ClassActivation(Attentive):
    """Each label's activation map gives a logit of the label and the weights that pool its feature.

    With tokens `X [B, P, C]`:

        M = X Wm + bm                                   [B, P, L]
        A = softmax_P(M),  or sigmoid(M) / P            [B, L, P]
        f_l = sum_P A_l (X Wv + bv)                     [B, L, D];   own logit_l = max_P M_l or mean_P M_l

    The value projection is applied before or after pooling, whichever is less arithmetic; both are exact.

    Args:
        channels: C of the map.
        num_labels: L.
        dim: D.
        activation: `softmax`, or `sigmoid`, with which the size of a label's feature depends on its evidence.
        own_logit: whether a label's own logit is the `mean` or the `max` of its map.
        dropout: rate in [0, 1) on the label's feature.
        map_dropout: rate in [0, 1) of dropping whole channels of the map.
        chunk: labels computed at once; 0 for all.
        normalise: scale of the map, see `MapNorm`.
        prior: where each label may look, added to its scores; `None` for everywhere.

    Source: after Hassanin et al. (2021), whose module was not available, by way of class activation maps (Zhou et al.,
    2016) and, for the sigmoid, ADD-GCN (Ye et al., 2020).
    Differs: ours. By default a label is scored by the mean of its map, as in Zhou et al.; the maximum of ADD-GCN
    overfits on frozen maps (results/LOG.md). The sigmoid's sum is divided by P, so that its scale does not depend on
    the size of the map.

    >>> out = ClassActivation(8, num_labels=3, dim=4)(torch.rand(2, 8, 5, 7), want_maps=True)
    >>> out.features.shape, out.logits.shape, out.maps.sum((2, 3)).allclose(torch.ones(2, 3))
    (torch.Size([2, 3, 4]), torch.Size([2, 3]), True)
    """

    def __init__(
        self,
        channels: int,
        num_labels: int,
        dim: Count = 512,
        activation: Literal["softmax", "sigmoid"] = "softmax",
        own_logit: Literal["mean", "max"] = "mean",
        dropout: Rate = 0.1,
        map_dropout: Rate = 0.5,
        chunk: Natural = 0,
        normalise: MapNormKind = "mean",
        prior: PlacePrior | None = None,
    ) -> None:
        super().__init__()
        self.prior = prior
        self.num_labels, self.dim, self.chunk = num_labels, dim, chunk
        self.softmax, self.strongest = activation == "softmax", own_logit == "max"
        self.norm = MapNorm(channels, normalise)
        self.map_dropout, self.dropout = nn.Dropout2d(map_dropout), nn.Dropout(dropout)
        self.score = nn.Linear(channels, num_labels)
        self.value = nn.Linear(channels, dim)

    def forward(self, x: Float[Tensor, "B C h w"], want_maps: bool = False) -> LabelFeatures:
        """Label features and logits of a map, optionally with attention maps."""
        tokens = self.attended(as_tokens(self.map_dropout(self.norm(x))))
        after = self._after(tokens.shape[1], tokens.shape[2])
        source = tokens if after else self.value(tokens)
        size = self.chunk or self.num_labels
        priors = repeat(None) if self.prior is None else self.prior(x).split(size)
        rows = zip(self.score.weight.split(size), self.score.bias.split(size), priors, strict=False)
        parts: list[Any] = [self._labels(tokens, source, after, w, b, p, want_maps) for w, b, p in rows]
        features, logits = (torch.cat([part[i] for part in parts], 1) for i in (0, 1))
        maps = torch.cat([m for _, _, m in parts if m is not None], 1) if want_maps else None
        shaped = None if maps is None else maps.unflatten(2, x.shape[2:])
        return LabelFeatures(self.dropout(features), shaped, logits)

    def _after(self, places: int, channels: int) -> bool:
        """Whether projecting each label's pooled token is less arithmetic than projecting every location."""
        labels = self.num_labels
        return labels * channels * (places + self.dim) < places * self.dim * (channels + labels)

    def _labels(
        self,
        tokens: Tokens,
        source: Tensor,
        after: bool,
        weight: Tensor,
        bias: Tensor,
        prior: Prior,
        want_maps: bool,
    ) -> tuple[Float[Tensor, "B l D"], Float[Tensor, "B l"], Float[Tensor, "B l P"] | None]:
        m = nn.functional.linear(tokens, weight, bias).transpose(1, 2)
        a = self._weights(m, prior)
        f = a @ source
        if after:
            f = f @ self.value.weight.T + a.sum(2, keepdim=True) * self.value.bias
        logits = m.amax(2) if self.strongest else m.mean(2)
        return f, logits, self._normalised(m, a, prior) if want_maps else None

    def _weights(self, m: Float[Tensor, "B l P"], prior: Prior) -> Float[Tensor, "B l P"]:
        if self.softmax:
            return add_prior(m, prior).softmax(2)
        a = m.sigmoid() / m.shape[2]
        return a if prior is None else a * prior.exp()

    def _normalised(
        self, m: Float[Tensor, "B l P"], a: Float[Tensor, "B l P"], prior: Prior
    ) -> Float[Tensor, "B l P"]:
        if self.softmax:
            return a.float()
        # Scales the map to sum to 1; in log space, since all sigmoids may underflow to 0.
        return add_prior(nn.functional.logsigmoid(m.float()), prior).softmax(2)
