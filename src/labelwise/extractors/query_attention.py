"""DLFL's semantic queries and semantic-spatial cross-attention (SSCA)."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from labelwise.errors import LabelwiseError
from labelwise.extractors.normalise import MapNorm, MapNormKind
from labelwise.extractors.queries import LabelQueries, QueryKind
from labelwise.extractors.transformer import sine_code
from labelwise.types import LabelFeatures, LabelMaps

Tokens = Float[Tensor, "B P C"]


class QueryAttention(LabelQueries):
    """A learnable query per label gathers the label's own feature from the map.

    With tokens `X [B, P, C]` and queries `Q_0 [L, D]`, for steps `s = 1..S` and heads of width `d = D / H`:

        A_s = softmax_P( (r_s Q_{s-1} Wq_s) (X Wk + pos)^T / sqrt(d) )
        Z_s = concat_heads(A_s X Wv) Wo_s  (+ Wm mean_P X)
        Q_s = LN(Q_{s-1} + Z_s);  Q_s = LN(Q_s + FFN_s(Q_s))

    `r_1 = 1` and later `r_s = query_std`: the norms give `Q_s` unit size, and brought to the size of `Q_0` it looks
    nearly everywhere at first too. The label's feature is `Q_S`, its map the mean of `A_S` over heads. No attention
    runs between labels, so cost is linear in L and a label can be added without touching the others. Where it is less
    arithmetic, `Wk` is folded into the query, or `Wq` into the keys, and `Wv` is applied after pooling, or `Wo`
    before; all are exact.

    Args:
        channels: C of the map.
        num_labels: L.
        dim: D, a multiple of `heads`.
        heads: H.
        steps: S, the cascade's length.
        ffn: width of the feed-forward layer; 0 for none.
        update: `residual` (above) or `replace`, `Q_s = Z_s`.
        mean_feature: add a linear map of the mean token to every label's feature.
        attention: `learned`, or `uniform`, the control that looks everywhere alike.
        position: `none`, or `sine`, a 2-D sine code added to the keys.
        share_kv: one key and value projection for all steps.
        deep_supervision: also give the features of earlier steps.
        dropout: rate in [0, 1) inside the feed-forward layer, on the mean feature and on the label's feature.
        map_dropout: rate in [0, 1) at which whole channels of the map are left out.
        query_std: standard deviation of the queries at the start, over 0.
        queries: `learned`, `text-start` or `text`, see `LabelQueries`.
        text: makes maps of the labels' word vectors; for queries from text.
        chunk: labels computed at once; 0 for all.
        normalise: scale of the map, see `MapNorm`.

    Raises:
        LabelwiseError: `dim` is not a multiple of `heads`, or `query_std` is not over 0.

    Source: after Jia et al., "Learning Disentangled Label Representations for Multi-label Classification" (2022).
    Differs: the full text was not available; widths, the mean feature, norms, r_s and the feed-forward layer
    are ours.

    >>> out = QueryAttention(8, num_labels=3, dim=4, ffn=4)(torch.rand(2, 8, 5, 7), want_maps=True)
    >>> out.features.shape, out.maps.sum((2, 3)).allclose(torch.ones(2, 3))
    (torch.Size([2, 3, 4]), True)
    """

    def __init__(
        self,
        channels: int,
        num_labels: int,
        dim: int = 512,
        heads: int = 1,
        steps: int = 1,
        ffn: int = 512,
        update: Literal["residual", "replace"] = "residual",
        mean_feature: bool = True,
        attention: Literal["learned", "uniform"] = "learned",
        position: Literal["none", "sine"] = "none",
        share_kv: bool = True,
        deep_supervision: bool = False,
        dropout: float = 0.5,
        map_dropout: float = 0.5,
        query_std: float = 0.02,
        queries: QueryKind = "learned",
        chunk: int = 0,
        normalise: MapNormKind = "mean",
        text: LabelMaps | None = None,
    ) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise LabelwiseError(
                f"dim {dim} with heads {heads}", "dim a multiple of heads", "correct extractor.heads"
            )
        if not query_std > 0:
            raise LabelwiseError(f"query_std {query_std:g}", "a number over 0", "correct extractor.query_std")
        self.num_labels, self.dim, self.heads, self.chunk = num_labels, dim, heads, chunk
        self.position, self.deep_supervision = position, deep_supervision
        self.norm = MapNorm(channels, normalise)
        self.query_std = query_std
        self.add_queries(queries, torch.randn(num_labels, dim) * query_std, text, query_std)
        projections = 1 if share_kv else steps
        looks = attention == "learned"
        # A bias of the keys would add one number at every location, which the softmax takes out again.
        self.key = nn.ModuleList(
            nn.Linear(channels, dim, bias=False) for _ in range(projections if looks else 0)
        )
        self.value = nn.ModuleList(nn.Linear(channels, dim) for _ in range(projections))
        self.mean = nn.Linear(channels, dim) if mean_feature else None
        self.dropout = nn.Dropout(dropout)
        self.map_dropout = nn.Dropout2d(map_dropout)
        self.steps = nn.ModuleList(_Step(dim, ffn, dropout, update, looks) for _ in range(steps))

    def forward(self, x: Float[Tensor, "B C h w"], want_maps: bool = False) -> LabelFeatures:
        """Label features of a map, with their maps where asked for."""
        size = x.shape[2:]
        tokens = self.map_dropout(self.norm(x)).flatten(2).transpose(1, 2)
        code = sine_code(size[0], size[1], self.dim, tokens) if self.position == "sine" else None
        shared = self.dropout(self.mean(tokens.mean(1))).unsqueeze(1) if self.mean is not None else None
        chunk = self.chunk or self.num_labels
        sides = [self._sides(tokens, code, shared, s, chunk) for s in range(len(self.steps))]
        parts = [
            self._labels(tokens, code, shared, sides, q, want_maps) for q in self.label_queries().split(chunk)
        ]
        every_step = [torch.cat(step, 1) for step in zip(*(features for features, _ in parts), strict=True)]
        maps = torch.cat([m for _, m in parts if m is not None], 1).unflatten(2, size) if want_maps else None
        earlier = every_step[:-1] if self.deep_supervision else ()
        return LabelFeatures(self.dropout(every_step[-1]), maps, earlier=earlier)

    def _sides(
        self, x: Tokens, code: Tensor | None, shared: Tensor | None, s: int, chunk: int
    ) -> _Sides | None:
        """Keys and values of a step; none where they are folded, or where it looks everywhere alike."""
        places, step = x.shape[1], self._step(s)
        if step.query is None or chunk * self.heads * (places + self.dim) < places * self.dim:
            return None
        k, v = self.key[s % len(self.key)](x), self.value[s % len(self.value)](x)
        k = k if code is None else k + code
        # What is linear is brought to the side with fewer rows; the first queries are one row for the whole batch.
        asks = self.heads == 1 and self.num_labels > places * (16 if s == 0 else 1)
        gives = self.heads == 1 and self.num_labels > places
        if asks:
            k = k @ step.query.weight
        if gives:  # weights of a map sum to 1, so what is added to every label may be added to every place
            v = step.out(v) if shared is None else step.out(v) + shared
        return _Sides(k, v, asks, gives)

    def _labels(
        self,
        tokens: Tokens,
        code: Tensor | None,
        shared: Tensor | None,
        sides: list[_Sides | None],
        queries: Tensor,
        want_maps: bool,
    ) -> tuple[list[Tensor], Tensor | None]:
        q: Tensor = queries.unsqueeze(0)  # one row serves the batch until the first step has seen the image
        features: list[Tensor] = []
        maps = None
        for s, side in enumerate(sides):
            step = self._step(s)
            value: Any = self.value[s % len(self.value)]
            wanted = want_maps and s == len(sides) - 1
            asked = q if s == 0 else q * self.query_std
            gives = False
            if step.query is None:
                pooled, maps = self._look_everywhere(tokens, value, wanted)
            elif side is None:
                key: Any = self.key[s % len(self.key)]
                pooled, maps = self._attend_folded(step.query(asked), tokens, key, value, code, wanted)
            else:
                gives = side.gives
                pooled, maps = self._attend(asked if side.asks else step.query(asked), side, wanted)
            z = pooled
            if not gives:
                z = step.out(pooled) if shared is None else step.out(pooled) + shared
            q = step(q, z.expand(-1, len(queries), -1))
            maps = maps if maps is None else maps.expand(-1, len(queries), -1)
            features.append(q)
        return features, maps

    def _step(self, s: int) -> Any:
        return self.steps[s]

    def _attend(
        self, q: Tensor, side: _Sides, want_maps: bool
    ) -> tuple[Float[Tensor, "B l D"], Tensor | None]:
        many, k, v = self._split(q.expand(side.k.shape[0], -1, -1)), self._split(side.k), self._split(side.v)
        if not want_maps:
            return F.scaled_dot_product_attention(many, k, v).transpose(1, 2).flatten(2), None
        a = (many * (self.dim // self.heads) ** -0.5 @ k.transpose(2, 3)).softmax(-1)
        return (a @ v).transpose(1, 2).flatten(2), a.float().mean(1)

    def _attend_folded(
        self, q: Tensor, x: Tokens, key: nn.Linear, value: nn.Linear, code: Tensor | None, want_maps: bool
    ) -> tuple[Float[Tensor, "B l D"], Tensor | None]:
        a = self._scores(self._split(q) * (self.dim // self.heads) ** -0.5, x, key, code).softmax(-1)
        pooled = (a.flatten(1, 2) @ x).unflatten(1, (self.heads, -1))
        weight = value.weight.view(self.heads, -1, x.shape[2])
        z = torch.einsum("bhlc,hdc->blhd", pooled, weight).flatten(2)
        return z + value.bias, a.float().mean(1) if want_maps else None

    def _look_everywhere(
        self, x: Tokens, value: nn.Linear, want_maps: bool
    ) -> tuple[Float[Tensor, "B 1 D"], Tensor | None]:
        maps = x.new_full((x.shape[0], 1, x.shape[1]), 1 / x.shape[1]) if want_maps else None
        return value(x.mean(1, keepdim=True)), maps

    def _scores(self, q: Tensor, x: Tokens, key: nn.Linear, code: Tensor | None) -> Float[Tensor, "B H l P"]:
        folded = torch.einsum("bhld,hdc->bhlc", q, key.weight.view(self.heads, -1, x.shape[2]))
        if q.shape[0] == 1:
            scores = torch.einsum("hlc,bpc->bhlp", folded[0], x)
        else:
            scores = (folded.flatten(1, 2) @ x.transpose(1, 2)).unflatten(1, (self.heads, -1))
        if code is not None:
            scores = scores + q @ self._split(code).transpose(2, 3)
        return scores

    def _split(self, t: Float[Tensor, "B n D"]) -> Float[Tensor, "B H n d"]:
        return t.unflatten(2, (self.heads, -1)).transpose(1, 2)


class _Sides(NamedTuple):
    """Keys and values of a step, `[B, P, D]` each, for all labels."""

    k: Tensor
    v: Tensor
    asks: bool
    """Whether the map of the queries is in `k` already."""
    gives: bool
    """Whether the output map and the shared feature are in `v` already."""


class _Step(nn.Module):
    """One step of the cascade: what was gathered, through `out`, becomes the label's next query."""

    def __init__(self, dim: int, ffn: int, dropout: float, update: str, looks: bool) -> None:
        super().__init__()
        self.query = nn.Linear(dim, dim, bias=False) if looks else None
        self.out = nn.Linear(dim, dim)
        self.replace = update == "replace"
        self.norm = nn.Identity() if self.replace else nn.LayerNorm(dim)
        self.ffn = (
            nn.Sequential(nn.Linear(dim, ffn), nn.GELU(), nn.Dropout(dropout), nn.Linear(ffn, dim))
            if ffn
            else None
        )
        self.ffn_norm = nn.LayerNorm(dim) if ffn else None

    def forward(self, q: Tensor, z: Float[Tensor, "B l D"]) -> Float[Tensor, "B l D"]:
        z = z if self.replace else self.norm(q + z)
        return z if self.ffn is None or self.ffn_norm is None else self.ffn_norm(z + self.ffn(z))
