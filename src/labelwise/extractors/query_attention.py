"""Semantic queries and semantic-spatial cross-attention (SSCA) of DLFL."""

from __future__ import annotations

from itertools import repeat
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from labelwise.errors import LabelwiseError
from labelwise.extractors.normalise import MapNorm, MapNormKind
from labelwise.extractors.queries import LabelQueries, QueryKind
from labelwise.extractors.regions import PlacePrior, Prior, add_prior
from labelwise.extractors.transformer import as_tokens, sine_code
from labelwise.options import Count, Natural, Positive, Rate
from labelwise.registry import EXTRACTORS
from labelwise.types import LabelFeatures, LabelMaps

Tokens = Float[Tensor, "B P C"]


@EXTRACTORS.register("query-attention")
class QueryAttention(LabelQueries):
    """A learnable query per label gathers the label's feature from the map by cross-attention.

    With tokens `X [B, P, C]` and queries `Q_0 [L, D]`, for steps `s = 1..S` and heads of width `d = D / H`:

        A_s = softmax_P( (r_s Q_{s-1} Wq_s) (X Wk + pos)^T / sqrt(d) )
        Z_s = concat_heads(A_s X Wv) Wo_s  (+ Wm mean_P X)
        Q_s = LN(Q_{s-1} + Z_s);  Q_s = LN(Q_s + FFN_s(Q_s))

    `r_1 = 1` and later `r_s = query_std`: norms scale `Q_s` to unit size, and `r_s` back to the size of `Q_0`, so that
    the initial attention of later steps is nearly uniform too. The label's feature is `Q_S`, its map the mean of `A_S`
    over heads. There is no attention between labels, so cost is linear in L and labels can be added without changing
    the others. If it is less arithmetic, `Wk` is folded into the queries, or `Wq` into the keys, and `Wv` is applied
    after pooling, or `Wo` before; all are exact.

    Args:
        channels: C of the map.
        num_labels: L.
        dim: D, a multiple of `heads`.
        heads: H.
        steps: S, number of cascade steps.
        ffn: width of the feed-forward layer; 0 for none.
        update: `residual` (above) or `replace`, `Q_s = Z_s`.
        mean_feature: add a linear map of the mean token to every label's feature.
        position: `none`, or `sine`, a 2-D sine code added to the keys.
        share_kv: one key and value projection for all steps.
        deep_supervision: also return the features of earlier steps.
        dropout: rate in [0, 1) inside the feed-forward layer, on the mean feature and on the label's feature.
        map_dropout: rate in [0, 1) of dropping whole channels of the map.
        query_std: standard deviation of the initial queries, over 0.
        queries: `learned`, `text-start` or `text`, see `LabelQueries`.
        text: builds maps of the labels' word vectors; for queries from text.
        chunk: labels computed at once; 0 for all.
        normalise: scale of the map, see `MapNorm`.
        prior: where each label may look, added to its scores; `None` for everywhere.

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
        dim: Count = 512,
        heads: Count = 1,
        steps: Count = 1,
        ffn: Natural = 512,
        update: Literal["residual", "replace"] = "residual",
        mean_feature: bool = True,
        position: Literal["none", "sine"] = "none",
        share_kv: bool = True,
        deep_supervision: bool = False,
        dropout: Rate = 0.5,
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
        if dim % heads:
            raise LabelwiseError(
                f"dim {dim} with heads {heads}", "dim a multiple of heads", "correct extractor.heads"
            )
        self.num_labels, self.dim, self.heads, self.chunk = num_labels, dim, heads, chunk
        self.position, self.deep_supervision = position, deep_supervision
        self.norm = MapNorm(channels, normalise)
        self.query_std = query_std
        self.add_queries(queries, torch.randn(num_labels, dim) * query_std, text, query_std)
        projections = 1 if share_kv else steps
        # No bias: it would add the same score at every location, and softmax is invariant to that.
        self.key = nn.ModuleList(nn.Linear(channels, dim, bias=False) for _ in range(projections))
        self.value = nn.ModuleList(nn.Linear(channels, dim) for _ in range(projections))
        self.mean = nn.Linear(channels, dim) if mean_feature else None
        self.dropout = nn.Dropout(dropout)
        self.map_dropout = nn.Dropout2d(map_dropout)
        self.steps = nn.ModuleList(_Step(dim, ffn, dropout, update) for _ in range(steps))

    def forward(self, x: Float[Tensor, "B C h w"], want_maps: bool = False) -> LabelFeatures:
        """Label features of a map, optionally with attention maps."""
        size = x.shape[2:]
        tokens = self.attended(as_tokens(self.map_dropout(self.norm(x))))
        code = sine_code(size[0], size[1], self.dim, tokens) if self.position == "sine" else None
        shared = self.dropout(self.mean(tokens.mean(1))).unsqueeze(1) if self.mean is not None else None
        chunk = self.chunk or self.num_labels
        projected = [self._project(tokens, code, shared, s, chunk) for s in range(len(self.steps))]
        priors = repeat(None) if self.prior is None else self.prior(x).split(chunk)
        parts = [
            self._labels(tokens, code, shared, projected, q, prior, want_maps)
            for q, prior in zip(self.label_queries().split(chunk), priors, strict=False)
        ]
        every_step = [torch.cat(step, 1) for step in zip(*(features for features, _ in parts), strict=True)]
        maps = torch.cat([m for _, m in parts if m is not None], 1).unflatten(2, size) if want_maps else None
        earlier = every_step[:-1] if self.deep_supervision else ()
        return LabelFeatures(self.dropout(every_step[-1]), maps, earlier=earlier)

    def _project(
        self, x: Tokens, code: Tensor | None, shared: Tensor | None, s: int, chunk: int
    ) -> _Projected | None:
        """Keys and values of a step; `None` if they are folded into the queries."""
        places, step = x.shape[1], self._step(s)
        if chunk * self.heads * (places + self.dim) < places * self.dim:
            return None
        k, v = self.key[s % len(self.key)](x), self.value[s % len(self.value)](x)
        k = k if code is None else k + code
        # Linear maps are applied to the side with fewer rows; the first step's queries have a batch of one.
        query_folded = self.heads == 1 and self.num_labels > places * (16 if s == 0 else 1)
        output_folded = self.heads == 1 and self.num_labels > places
        if query_folded:
            k = k @ step.query.weight
        if output_folded:  # attention weights sum to 1, so the bias and the shared feature can be folded too
            v = step.out(v) if shared is None else step.out(v) + shared
        return _Projected(k, v, query_folded, output_folded)

    def _labels(
        self,
        tokens: Tokens,
        code: Tensor | None,
        shared: Tensor | None,
        projected: list[_Projected | None],
        queries: Tensor,
        prior: Prior,
        want_maps: bool,
    ) -> tuple[list[Tensor], Tensor | None]:
        q: Tensor = queries.unsqueeze(0)  # a batch of one until the first step depends on the image
        features: list[Tensor] = []
        maps = None
        for s, kv in enumerate(projected):
            step = self._step(s)
            value: Any = self.value[s % len(self.value)]
            wanted = want_maps and s == len(projected) - 1
            scaled = q if s == 0 else q * self.query_std
            output_folded = False
            if kv is None:
                key: Any = self.key[s % len(self.key)]
                pooled, maps = self._attend_folded(
                    step.query(scaled), tokens, key, value, code, prior, wanted
                )
            else:
                output_folded = kv.output_folded
                pooled, maps = self._attend(
                    scaled if kv.query_folded else step.query(scaled), kv, prior, wanted
                )
            z = pooled
            if not output_folded:
                z = step.out(pooled) if shared is None else step.out(pooled) + shared
            q = step(q, z)
            features.append(q)
        return features, maps

    def _step(self, s: int) -> Any:
        return self.steps[s]

    def _attend(
        self, q: Tensor, kv: _Projected, prior: Prior, want_maps: bool
    ) -> tuple[Float[Tensor, "B l D"], Tensor | None]:
        q, k, v = self._split(q.expand(kv.k.shape[0], -1, -1)), self._split(kv.k), self._split(kv.v)
        if not want_maps:
            return F.scaled_dot_product_attention(q, k, v, prior).transpose(1, 2).flatten(2), None
        a = add_prior(q * (self.dim // self.heads) ** -0.5 @ k.transpose(2, 3), prior).softmax(-1)
        return (a @ v).transpose(1, 2).flatten(2), a.float().mean(1)

    def _attend_folded(
        self,
        q: Tensor,
        x: Tokens,
        key: nn.Linear,
        value: nn.Linear,
        code: Tensor | None,
        prior: Prior,
        want_maps: bool,
    ) -> tuple[Float[Tensor, "B l D"], Tensor | None]:
        scores = self._scores(self._split(q) * (self.dim // self.heads) ** -0.5, x, key, code)
        a = add_prior(scores, prior).softmax(-1)
        pooled = (a.flatten(1, 2) @ x).unflatten(1, (self.heads, -1))
        weight = value.weight.view(self.heads, -1, x.shape[2])
        z = torch.einsum("bhlc,hdc->blhd", pooled, weight).flatten(2)
        return z + value.bias, a.float().mean(1) if want_maps else None

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


class _Projected(NamedTuple):
    """Keys and values of a step, `[B, P, D]` each, for all labels."""

    k: Tensor
    v: Tensor
    query_folded: bool
    """Whether `k` includes the query projection."""
    output_folded: bool
    """Whether `v` includes the output projection and the shared feature."""


class _Step(nn.Module):
    """One step of the cascade: the pooled feature, after `out`, updates the label's query."""

    def __init__(self, dim: int, ffn: int, dropout: float, update: str) -> None:
        super().__init__()
        self.query = nn.Linear(dim, dim, bias=False)
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
