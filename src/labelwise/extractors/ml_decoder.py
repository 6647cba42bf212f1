"""ML-Decoder: one layer of cross-attention from frozen random queries, one per label or per group of labels."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from labelwise.errors import LabelwiseError
from labelwise.extractors.normalise import MapNorm, MapNormKind
from labelwise.extractors.queries import LabelQueries, QueryKind
from labelwise.extractors.transformer import Layer, as_tokens
from labelwise.options import Count, Natural, Rate
from labelwise.registry import EXTRACTORS
from labelwise.types import LabelFeatures, LabelMaps


@EXTRACTORS.register("ml-decoder")
class MLDecoder(LabelQueries):
    """Frozen random queries gather one feature each; labels of a group share its feature.

    With tokens `M = relu(X Wp + bp) [B, P, D]` and fixed queries `Q [K, D] ~ N(0, 1)`:

        T = LN(Q + dropout(Q))
        G = F( T + MHA(T, M, M) ),   F(t) = LN(n + W2 relu(W1 n)),  n = LN(t)            [B, K, D]
        f_l = G_g(l),   g(l) = floor(l K / L)

    The classifier `z_l = <w_l, f_l> + b_l` is the group's fully connected layer, for all groups at once. With
    `groups=0` every label has its own query and feature, and `g(l) = l`. There is no self-attention between queries and
    no position code. Cost is linear in K.

    Args:
        channels: C of the map.
        num_labels: L.
        dim: D, a multiple of `heads`.
        heads: of the attention.
        ffn: width of the feed-forward layer.
        groups: K, at most L, of neighbours in the order of labels; 0 for one query per label.
        learn_queries: train the queries.
        queries: `learned`, here random queries that learn only with `learn_queries`; `text-start` or `text`, see
            `LabelQueries`, need one query per label.
        text: builds maps of the labels' word vectors; for queries from text.
        dropout: rate in [0, 1) of the queries and of the layer, see `Layer`.
        map_dropout: rate in [0, 1) of dropping whole channels of the map.
        chunk: queries computed at once; 0 for all.
        normalise: scale of the map, see `MapNorm`.

    Raises:
        LabelwiseError: more groups than labels, or `dim` is not a multiple of `heads`.

    Source: after Ridnik et al., "ML-Decoder: Scalable and Versatile Classification Head" (2021).
    Differs: groups of nearly equal size, none empty, where the paper rounds the group's size up; smaller widths.

    >>> out = MLDecoder(8, num_labels=4, dim=4, heads=2, ffn=4, groups=2).eval()(torch.rand(2, 8, 5, 7))
    >>> out.features.shape, torch.equal(out.features[:, 0], out.features[:, 1])
    (torch.Size([2, 4, 4]), True)
    """

    def __init__(
        self,
        channels: int,
        num_labels: int,
        dim: Count = 256,
        heads: Count = 8,
        ffn: Natural = 1024,
        groups: Natural = 0,
        learn_queries: bool = False,
        queries: QueryKind = "learned",
        dropout: Rate = 0.1,
        map_dropout: Rate = 0.5,
        chunk: Natural = 0,
        normalise: MapNormKind = "mean",
        text: LabelMaps | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= groups <= num_labels:
            raise LabelwiseError(
                f"{groups} groups for {num_labels} labels",
                "at most one group per label, or 0 for one query per label",
                "correct extractor.groups",
            )
        self.dim, self.chunk = dim, chunk
        self.norm = MapNorm(channels, normalise)
        self.map_dropout = nn.Dropout2d(map_dropout)
        self.project = nn.Sequential(nn.Linear(channels, dim), nn.ReLU())
        start = torch.randn(groups or num_labels, dim)
        if queries == "learned" and not learn_queries:
            self.register_buffer("queries", start)
        elif queries != "learned" and groups:
            raise LabelwiseError(
                f"extractor.queries={queries} with {groups} groups",
                "one query per label",
                "leave one of them out",
            )
        else:
            self.add_queries(queries, start, text, 1.0)
        shared = 0 < groups < num_labels
        group = torch.arange(num_labels) * groups // num_labels if shared else None
        self.group: Tensor | None
        self.register_buffer("group", group)
        self.query_norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)
        self.layer = Layer(dim, heads, ffn, dropout)

    def forward(self, x: Float[Tensor, "B C h w"], want_maps: bool = False) -> LabelFeatures:
        """Label features of a map, optionally with attention maps."""
        tokens = self.attended(self.project(as_tokens(self.map_dropout(self.norm(x)))))
        start = self.label_queries()
        queries = self.query_norm(start + self.dropout(start)).unsqueeze(0)
        parts = [self.layer(q, q, tokens, tokens, want_maps) for q in queries.split(self.chunk or 2**31, 1)]
        features = self._of_labels(torch.cat([f for f, _ in parts], 1))
        if not want_maps:
            return LabelFeatures(features)
        maps = self._of_labels(torch.cat([m for _, m in parts], 1))
        return LabelFeatures(features, maps.unflatten(2, x.shape[2:]))

    def _of_labels(self, t: Float[Tensor, "B K _"]) -> Float[Tensor, "B L _"]:
        return t if self.group is None else t.index_select(1, self.group)
