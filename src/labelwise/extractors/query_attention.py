"""DLFL's semantic queries and semantic-spatial cross-attention (SSCA)."""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from labelwise.errors import LabelwiseError
from labelwise.extractors.normalise import MapNorm, MapNormKind
from labelwise.extractors.transformer import sine_code
from labelwise.types import LabelFeatures

Tokens = Float[Tensor, "B P C"]


class QueryAttention(nn.Module):
    """A learnable query per label gathers the label's own feature from the map.

    With tokens `X [B, P, C]` and queries `Q_0 [L, D]`, for steps `s = 1..S` and heads of width `d = D / H`:

        A_s = softmax_P( (r_s Q_{s-1} Wq_s) (X Wk + pos)^T / sqrt(d) )
        Z_s = concat_heads(A_s X Wv) Wo_s  (+ Wm mean_P X)
        Q_s = LN(Q_{s-1} + Z_s);  Q_s = LN(Q_s + FFN_s(Q_s))

    `r_1 = 1` and later `r_s = query_std`: the norms give `Q_s` unit size, and brought to the size of `Q_0` it looks
    nearly everywhere at first too. The label's feature is `Q_S`, its map the mean of `A_S` over heads. No attention
    runs between labels, so cost is linear in L and a label can be added without touching the others. `Wk` is folded
    into the query and `Wv` applied after pooling where that is less arithmetic; both are exact.

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
        chunk: int = 0,
        normalise: MapNormKind = "mean",
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
        self.queries = nn.Parameter(torch.randn(num_labels, dim) * query_std)
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
        size_of_chunk = self.chunk or self.num_labels
        parts = [self._labels(tokens, code, shared, q, want_maps) for q in self.queries.split(size_of_chunk)]
        every_step = [torch.cat(step, 1) for step in zip(*(features for features, _ in parts), strict=True)]
        maps = torch.cat([m for _, m in parts if m is not None], 1).unflatten(2, size) if want_maps else None
        earlier = every_step[:-1] if self.deep_supervision else ()
        return LabelFeatures(self.dropout(every_step[-1]), maps, earlier=earlier)

    def _labels(
        self, tokens: Tokens, code: Tensor | None, shared: Tensor | None, queries: Tensor, want_maps: bool
    ) -> tuple[list[Tensor], Tensor | None]:
        q: Tensor = queries.unsqueeze(0)  # one row serves the batch until the first step has seen the image
        features: list[Tensor] = []
        maps = None
        step: Any
        for s, step in enumerate(self.steps):
            value: Any = self.value[s % len(self.value)]
            wanted = want_maps and s == len(self.steps) - 1
            if step.query is None:
                pooled, maps = self._look_everywhere(tokens, value, len(queries), wanted)
            else:
                key: Any = self.key[s % len(self.key)]
                asked = q if s == 0 else q * self.query_std
                pooled, maps = self._attend(step.query(asked), tokens, key, value, code, wanted)
            q = step(q, pooled, shared)
            features.append(q)
        return features, maps

    def _attend(
        self, q: Tensor, x: Tokens, key: nn.Linear, value: nn.Linear, code: Tensor | None, want_maps: bool
    ) -> tuple[Float[Tensor, "B l D"], Tensor | None]:
        batch, places, channels = x.shape
        labels = q.shape[1]
        folded = labels * self.heads * (places + self.dim) < places * self.dim
        if not folded and not want_maps:
            k = key(x) if code is None else key(x) + code
            many = self._split(q.expand(batch, -1, -1))
            fused = F.scaled_dot_product_attention(many, self._split(k), self._split(value(x)))
            return fused.transpose(1, 2).flatten(2), None
        scores = self._scores(self._split(q) * (self.dim // self.heads) ** -0.5, x, key, code)
        a = scores.softmax(-1)
        maps = a.float().mean(1) if want_maps else None
        if not folded:
            return (a @ self._split(value(x))).transpose(1, 2).flatten(2), maps
        pooled = (a.flatten(1, 2) @ x).unflatten(1, (self.heads, labels))
        weight = value.weight.view(self.heads, -1, channels)
        z = torch.einsum("bhlc,hdc->blhd", pooled, weight).flatten(2)
        return z + value.bias, maps

    def _look_everywhere(
        self, x: Tokens, value: nn.Linear, labels: int, want_maps: bool
    ) -> tuple[Float[Tensor, "B l D"], Tensor | None]:
        maps = x.new_full((1, 1, 1), 1 / x.shape[1]).expand(len(x), labels, x.shape[1]) if want_maps else None
        return value(x.mean(1, keepdim=True)).expand(-1, labels, -1), maps

    def _scores(self, q: Tensor, x: Tokens, key: nn.Linear, code: Tensor | None) -> Float[Tensor, "B H l P"]:
        folded = torch.einsum("bhld,hdc->bhlc", q, key.weight.view(self.heads, -1, x.shape[2]))
        if len(q) == 1:
            scores = torch.einsum("hlc,bpc->bhlp", folded[0], x)
        else:
            scores = (folded.flatten(1, 2) @ x.transpose(1, 2)).unflatten(1, (self.heads, -1))
        if code is not None:
            scores = scores + q @ self._split(code).transpose(2, 3)
        return scores

    def _split(self, t: Float[Tensor, "B n D"]) -> Float[Tensor, "B H n d"]:
        return t.unflatten(2, (self.heads, -1)).transpose(1, 2)


class _Step(nn.Module):
    """One step of the cascade: what the attention gathered becomes the label's next query."""

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

    def forward(
        self, q: Tensor, pooled: Float[Tensor, "B l D"], shared: Tensor | None
    ) -> Float[Tensor, "B l D"]:
        z = self.out(pooled)
        z = z if shared is None else z + shared
        z = z if self.replace else self.norm(q + z)
        return z if self.ffn is None or self.ffn_norm is None else self.ffn_norm(z + self.ffn(z))
