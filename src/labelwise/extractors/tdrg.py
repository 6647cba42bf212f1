"""TDRG's dual relations: a transformer over map locations at three scales, and a graph between labels."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from labelwise.extractors.attentive import Attentive
from labelwise.extractors.normalise import MapNorm, MapNormKind
from labelwise.extractors.transformer import Attention, as_tokens, layers_of, sine_code
from labelwise.numerics import at_least_float32, share_of
from labelwise.options import Count, Natural, Rate, Share
from labelwise.registry import EXTRACTORS
from labelwise.types import LabelFeatures

Grid = Float[Tensor, "B D _ _"]


@EXTRACTORS.register("dual-relations")
class DualRelations(Attentive):
    """Labels pool features of locations after a transformer, and a graph relates the labels of each image.

    `sac` are scores by spatial attention, `gcn` those of a graph convolution between labels. With
    `x = X Wp + bp [B, P, D]` and its class scores `s = x U^T + u [B, P, L]`:

        a = softmax_P(s);   sac = mean of each label's k highest scores,  k = max(1, ceil(peak P))
        x_1, x_2, x_3 = x at half, full and double side;   y_i = LN(x_i + MHA(x_i + c_i, x_j + c_j, x_j)),  all j != i
        e_i = encoder(y_i);   E = mean of e_1, e_2, e_3 at full side;   f = a E                          [B, L, D]
        v = a x Wv + bv;   n = [f; v];   J = softmax over labels of (n Wa)(n Wb)^T / sqrt(D)             [B, L, L]
        g = v + relu(J v Wg + bg);   gcn_l = <r_l, g_l> + t_l

    `c_i` is the sine code of locations, and all scales share one encoder. The classifier computes
    `trans_l = <w_l, f_l> + b_l`; the method averages it with `gcn`, and `sac` is a branch for the loss. The map is `a`.
    Cost of `J` is O(L^2).

    Args:
        channels: C of the map.
        num_labels: L.
        dim: D, a multiple of `heads`.
        heads: of every attention.
        layers: of the encoder, from 0.
        ffn: width of the feed-forward layers.
        peak: share of locations with the highest scores that count for `sac`, in [0, 1]; at least one counts.
        double_side: also use the double side, which is most of the arithmetic; else only `x_1` and `x_2`.
        dropout: rate in [0, 1) after attention and in the feed-forward part of every layer, and on `v`.
        map_dropout: rate in [0, 1) of dropping whole channels of the map.
        normalise: scale of the map, see `MapNorm`.

    Raises:
        LabelwiseError: `dim` is not a multiple of `heads`, or `peak` is out of range.

    Source: after Zhao et al., "Transformer-based Dual Relation Graph for Multi-label Image Recognition" (2021).
    Differs: all scales come from one map; attention across scales, pooling of label features, and J are ours.

    >>> out = DualRelations(8, num_labels=3, dim=4, heads=2, ffn=4)(torch.rand(2, 8, 5, 7), want_maps=True)
    >>> out.features.shape, out.logits.shape, sorted(out.branches)
    (torch.Size([2, 3, 4]), torch.Size([2, 3]), ['gcn', 'sac'])
    """

    def __init__(
        self,
        channels: int,
        num_labels: int,
        dim: Count = 256,
        heads: Count = 4,
        layers: Natural = 1,
        ffn: Natural = 512,
        peak: Share = 0.05,
        double_side: bool = True,
        dropout: Rate = 0.1,
        map_dropout: Rate = 0.5,
        normalise: MapNormKind = "mean",
    ) -> None:
        super().__init__()
        self.dim, self.peak, self.double_side = dim, peak, double_side
        self.norm = MapNorm(channels, normalise)
        self.map_dropout = nn.Dropout2d(map_dropout)
        self.project = nn.Linear(channels, dim)
        self.score = nn.Linear(dim, num_labels)
        self.across = Attention(dim, heads)
        self.across_norm = nn.LayerNorm(dim)
        self.encoder = layers_of(layers, dim, heads, ffn, dropout)
        self.graph = _Graph(dim, num_labels, dropout)

    def forward(self, x: Float[Tensor, "B C h w"], want_maps: bool = False) -> LabelFeatures:
        """Label features of a map, the graph's logits, branches `gcn` and `sac`, and optionally attention maps."""
        size = x.shape[2:]
        tokens = self.project(as_tokens(self.map_dropout(self.norm(x))))
        attended = self.attended(tokens)
        scores = at_least_float32(self.score(attended).transpose(1, 2))
        places = scores.softmax(2)
        related = self.attended(self._relate(tokens.transpose(1, 2).unflatten(2, size)))
        weights = places.to(related.dtype)
        features = weights @ related
        graph = self.graph(features, weights @ attended)
        highest = max(1, share_of(scores.shape[2], self.peak))
        branches = {"gcn": graph, "sac": scores.topk(highest, 2, sorted=False).values.mean(2)}
        # The loss also classifies the features before the graph.
        return LabelFeatures(
            features, places.unflatten(2, size) if want_maps else None, graph, (features,), branches
        )

    def _relate(self, x: Float[Tensor, "B D h w"]) -> Float[Tensor, "B P D"]:
        """Locations after attention across and within the scales, averaged on the map's grid."""
        h, w = x.shape[2:]
        code = sine_code(h, w, self.dim, x).transpose(1, 2).unflatten(2, (h, w))
        grids = self._scales(x)
        values = [as_tokens(grid) for grid in grids]
        codes = [as_tokens(grid) for grid in self._scales(code)]
        related = []
        for i, (own, at, grid) in enumerate(zip(values, codes, grids, strict=True)):
            others = torch.cat([v for j, v in enumerate(values) if j != i], 1)
            where = torch.cat([c for j, c in enumerate(codes) if j != i], 1)
            t = self.across_norm(own + self.across(own + at, others + where, others)[0])
            for layer in self.encoder:
                t, _ = layer(t, t + at, t + at, t)
            related.append(t.transpose(1, 2).unflatten(2, grid.shape[2:]))
        related[0] = F.interpolate(related[0], size=(h, w), mode="bilinear", align_corners=False)
        if self.double_side:
            related[2] = F.avg_pool2d(related[2], 2)
        return as_tokens(torch.stack(related).mean(0))

    def _scales(self, x: Grid) -> list[Grid]:
        """A map at half, full and optionally double side; half of an odd side is rounded up."""
        scales = [F.avg_pool2d(x, 2, ceil_mode=True), x]
        if self.double_side:
            scales.append(F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False))
        return scales


class _Graph(nn.Module):
    """One layer of graph convolution between the labels of an image, and a score for each."""

    def __init__(self, dim: int, num_labels: int, dropout: float) -> None:
        super().__init__()
        self.node = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)
        self.source = nn.Linear(2 * dim, dim, bias=False)
        self.target = nn.Linear(2 * dim, dim, bias=False)
        self.step = nn.Linear(dim, dim)
        self.weight = nn.Parameter(torch.empty(num_labels, dim).uniform_(-(dim**-0.5), dim**-0.5))
        self.bias = nn.Parameter(torch.zeros(num_labels))

    def forward(self, f: Float[Tensor, "B L D"], x: Float[Tensor, "B L D"]) -> Float[Tensor, "B L"]:
        v = self.dropout(self.node(x))
        n = torch.cat([f, v], 2)
        q, k = self.source(n).unsqueeze(1), self.target(n).unsqueeze(1)
        near = F.scaled_dot_product_attention(q, k, v.unsqueeze(1)).squeeze(1)
        g = v + self.step(near).relu()
        return (g * self.weight).sum(2) + self.bias
