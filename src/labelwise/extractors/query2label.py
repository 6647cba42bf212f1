"""Query2Label's transformer: an encoder over map locations, and a decoder with one query per label."""

from __future__ import annotations

from itertools import repeat
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from labelwise.extractors.normalise import MapNorm, MapNormKind
from labelwise.extractors.queries import LabelQueries, QueryKind
from labelwise.extractors.regions import PlacePrior, Prior
from labelwise.extractors.transformer import Tokens, as_tokens, layers_of, sine_code
from labelwise.options import Count, Natural, Positive, Rate
from labelwise.registry import EXTRACTORS
from labelwise.types import LabelFeatures, LabelMaps


@EXTRACTORS.register("query2label")
class Query2Label(LabelQueries):
    """Label queries attend to encoded locations, layer by layer, without attention between labels.

    With the map's tokens `M_0 = X Wp + bp [B, P, D]`, their sine code `s`, queries `Q [L, D]` and `MHA(q, k, v)`:

        M_e = F( M_{e-1} + MHA(M_{e-1} + s, M_{e-1} + s, M_{e-1}) )      e = 1..E
        T_i = F( T_{i-1} + MHA(T_{i-1} + Q, M_E + s, M_E) )              i = 1..I,  T_0 = Q
        F(t) = LN(n + W2 relu(W1 n)),  n = LN(t)

    The code's positions are scaled to (0, 2 pi], so that a code means the same part of the image at every resolution.
    The label's feature is `T_I`, its map the mean over heads of the last decoder layer's weights. Cost is linear in L;
    the queries of layer 1 are the same for every image and computed once per batch.

    Args:
        channels: C of the map.
        num_labels: L.
        dim: D, a multiple of `heads`.
        heads: of every attention.
        encoder_layers: E, from 0.
        layers: I, from 1.
        ffn: width of the feed-forward layers.
        dropout: rate in [0, 1) of every layer, see `Layer`.
        map_dropout: rate in [0, 1) of dropping whole channels of the map.
        query_std: standard deviation of the initial queries.
        queries: `learned`, `text-start` or `text`, see `LabelQueries`.
        text: builds maps of the labels' word vectors; for queries from text.
        chunk: labels computed at once; 0 for all.
        normalise: scale of the map, see `MapNorm`.
        prior: where each label may look, added to its scores; `None` for everywhere.

    Raises:
        LabelwiseError: `dim` is not a multiple of `heads`.

    Source: after Liu et al., "Query2Label: A Simple Transformer Way to Multi-Label Classification" (2021).
    Differs: the published width is 2048 with 8192 in the feed-forward layers; here both are small.

    >>> out = Query2Label(8, num_labels=3, dim=4, heads=2, ffn=4)(torch.rand(2, 8, 5, 7), want_maps=True)
    >>> out.features.shape, out.maps.sum((2, 3)).allclose(torch.ones(2, 3))
    (torch.Size([2, 3, 4]), True)
    """

    def __init__(
        self,
        channels: int,
        num_labels: int,
        dim: Count = 256,
        heads: Count = 4,
        encoder_layers: Natural = 1,
        layers: Count = 2,
        ffn: Natural = 512,
        dropout: Rate = 0.1,
        map_dropout: Rate = 0.5,
        query_std: Positive = 0.02,
        queries: QueryKind = "learned",
        chunk: Natural = 0,
        normalise: MapNormKind = "mean",
        text: LabelMaps | None = None,
        prior: PlacePrior | None = None,
    ) -> None:
        super().__init__()
        self.prior = prior
        self.num_labels, self.dim, self.chunk = num_labels, dim, chunk
        self.norm = MapNorm(channels, normalise)
        self.map_dropout = nn.Dropout2d(map_dropout)
        self.project = nn.Linear(channels, dim)
        self.add_queries(queries, torch.randn(num_labels, dim) * query_std, text, query_std)
        self.encoder = layers_of(encoder_layers, dim, heads, ffn, dropout)
        self.decoder = layers_of(layers, dim, heads, ffn, dropout)

    def forward(self, x: Float[Tensor, "B C h w"], want_maps: bool = False) -> LabelFeatures:
        """Label features of a map, optionally with attention maps."""
        size = x.shape[2:]
        tokens = self.project(as_tokens(self.map_dropout(self.norm(x))))
        code = sine_code(size[0], size[1], self.dim, tokens, scaled=True)
        for layer in self.encoder:
            tokens, _ = layer(tokens, tokens + code, tokens + code, tokens)
        tokens = self.attended(tokens)
        chunk, keys = self.chunk or self.num_labels, tokens + code
        priors = repeat(None) if self.prior is None else self.prior(x).to(tokens.dtype).split(chunk)
        parts = [
            self._labels(q.unsqueeze(0), keys, tokens, prior, want_maps)
            for q, prior in zip(self.label_queries().split(chunk), priors, strict=False)
        ]
        features = torch.cat([f for f, _ in parts], 1)
        maps = torch.cat([m for _, m in parts if m is not None], 1).unflatten(2, size) if want_maps else None
        return LabelFeatures(features, maps)

    def _labels(
        self, queries: Float[Tensor, "1 l D"], keys: Tokens, tokens: Tokens, prior: Prior, want_maps: bool
    ) -> tuple[Float[Tensor, "B l D"], Float[Tensor, "B l P"] | None]:
        t: Any = queries  # a batch of one until the first layer depends on the image
        weights = None
        for i, layer in enumerate(self.decoder, 1):
            t, weights = layer(t, t + queries, keys, tokens, want_maps and i == len(self.decoder), prior)
        return t, weights
