"""C-Tran: map locations and labels as tokens of one transformer, with known label states as optional input."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from labelwise.extractors.attentive import Attentive
from labelwise.extractors.normalise import MapNorm, MapNormKind
from labelwise.extractors.transformer import as_tokens, layers_of
from labelwise.options import Count, Natural, Positive, Rate, Share
from labelwise.registry import EXTRACTORS
from labelwise.types import LabelFeatures, Targets


@EXTRACTORS.register("c-tran")
class CTran(Attentive):
    """Labels and locations attend to each other; a label's token also encodes its state, if that is an input.

    With locations `M_0 = X Wp + bp [B, P, D]`, label queries `Q [L, D]` and one vector for each state, `S [3, D]`:

        T_0 = Q + S_unknown                           if the label's state is not an input
        T_0 = Q + (1 - y) S_negative + y S_positive   if it is, y in [0, 1]
        [M_i; T_i] = F( [M; T] + MHA([M; T], [M; T], [M; T]) ),   [M; T] those of i - 1,   i = 1..I
        F(t) = LN(n + W2 relu(W1 n)),  n = LN(t)

    The label's feature is `T_I`. Its map is the last layer's attention of its token to locations, averaged over heads
    and scaled to sum to 1. Labels attend to each other, so the state of one label affects the others; memory and
    arithmetic of a layer are O((P + L)^2).

    Args:
        channels: C of the map.
        num_labels: L.
        dim: D, a multiple of `heads`.
        heads: of every attention.
        layers: I, from 1.
        ffn: width of the feed-forward layers.
        told: in training, largest share of an image's known labels that are inputs, in [0, 1]; 0 for no inputs.
        loss_on: labels of the loss in training: `hidden`, known labels that are not inputs, or `all` known ones.
        dropout: rate in [0, 1) of every layer, see `Layer`.
        map_dropout: rate in [0, 1) of dropping whole channels of the map.
        query_std: standard deviation of the initial queries and state vectors.
        normalise: scale of the map, see `MapNorm`.

    Raises:
        LabelwiseError: `dim` is not a multiple of `heads`, or `told` is out of range.

    Source: after Lanchantin et al., "General Multi-label Image Classification with Transformers" (2021).
    Differs: the published width is 2048; widths, initial queries and the order of norms are ours.

    >>> head = CTran(8, num_labels=3, dim=4, heads=2, layers=1, ffn=4).eval()
    >>> x, cat = torch.rand(1, 8, 2, 2), Targets.of(torch.tensor([[1.0, float("nan"), float("nan")]]))
    >>> torch.equal(head(x).features[:, 1], head(x, states=cat).features[:, 1])
    False
    """

    takes_states: ClassVar[bool] = True

    def __init__(
        self,
        channels: int,
        num_labels: int,
        dim: Count = 256,
        heads: Count = 4,
        layers: Count = 3,
        ffn: Natural = 512,
        told: Share = 0.75,
        loss_on: Literal["hidden", "all"] = "hidden",
        dropout: Rate = 0.1,
        map_dropout: Rate = 0.5,
        query_std: Positive = 0.02,
        normalise: MapNormKind = "mean",
    ) -> None:
        super().__init__()
        self.dim, self.told, self.loss_on = dim, told, loss_on
        self.norm = MapNorm(channels, normalise)
        self.map_dropout = nn.Dropout2d(map_dropout)
        self.project = nn.Linear(channels, dim)
        self.queries = nn.Parameter(torch.randn(num_labels, dim) * query_std)
        self.state_queries = nn.Parameter(torch.randn(3, dim) * query_std)
        self.layers = layers_of(layers, dim, heads, ffn, dropout)

    def forward(
        self, x: Float[Tensor, "B C h w"], want_maps: bool = False, states: Targets | None = None
    ) -> LabelFeatures:
        """Label features of a map and of known label states, optionally with attention maps.

        Args:
            x: `[B, C, h, w]`.
            want_maps: also return maps.
            states: `[B, L]` input states; values of unknown cells are ignored. `None` for no inputs.
        """
        places = self.attended(self.project(as_tokens(self.map_dropout(self.norm(x)))))
        labels = self.queries + self._states(states, places)
        layer: Any
        for layer in self.layers[:-1]:
            every = torch.cat([places, labels], 1)
            both, _ = layer(every, every, every, every)
            places, labels = both.split([places.shape[1], labels.shape[1]], 1)
        every = torch.cat([places, labels], 1)
        # The last layer's outputs of locations are not needed.
        features, weights = self.layers[-1](labels, labels, every, every, want_maps)
        return LabelFeatures(
            features, None if weights is None else _on_places(weights, x.shape[2], x.shape[3])
        )

    def _states(self, states: Targets | None, like: Float[Tensor, "B P D"]) -> Float[Tensor, "B _ D"]:
        if states is None:
            return self.state_queries[0].expand(like.shape[0], 1, -1)
        unknown, negative, positive = self.state_queries
        value = states.values.masked_fill(~states.known, 0).to(unknown.dtype).unsqueeze(2)
        known = states.known.to(unknown.dtype).unsqueeze(2)
        # Differences from the unknown state, so that all-unknown states give exactly the same result as `None`.
        return unknown + (known - value) * (negative - unknown) + value * (positive - unknown)


def _on_places(weights: Float[Tensor, "B L _"], h: int, w: int) -> Float[Tensor, "B L h w"]:
    """The weights of locations, scaled to sum to 1; uniform if labels have all of the weight."""
    maps = weights[:, :, : h * w] + 1e-20
    return (maps / maps.sum(2, keepdim=True)).unflatten(2, (h, w))
