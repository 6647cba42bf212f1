"""SSGRL's semantic decoupling: attention computed from a label's vector and every location of the map."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from labelwise.extractors.attentive import Attentive
from labelwise.extractors.bilinear import tanh_scores
from labelwise.extractors.normalise import MapNorm, MapNormKind, batch_normed
from labelwise.extractors.regions import PlacePrior, add_prior
from labelwise.numerics import at_least_float32
from labelwise.options import Count, Natural, Rate
from labelwise.registry import EXTRACTORS
from labelwise.types import LabelFeatures


@EXTRACTORS.register("semantic-decoupling")
class SemanticDecoupling(Attentive):
    """One feature per label, pooled by attention between locations and label vectors.

    With locations `x_p [C']` of the map and label vectors `v_l [V]`:

        a_lp = fc4 fc3 tanh( (U x_p) * (V v_l) );   A_l = softmax_p(a_l);   f_l = sum_p A_lp x_p

    There is no non-linearity between fc3 and fc4, so their product is one vector `u` and `a_lp = u^T tanh(..)`, which
    is exact; they have no biases, since softmax is invariant to a constant. The tanh term of all locations and labels
    is never stored: it is computed block by block, and recomputed in the backward pass.

    Args:
        channels: C of the map.
        num_labels: L.
        vectors: returns the label vectors `[L, V]`; has `dim`, V.
        joint: joint width of locations and labels.
        width: C', width of the map after a 1 x 1 convolution and batch norm; 0 keeps C without them.
        pool: side of average pooling of the map, for example 2; 0 for none.
        parametrisation: `factored` learns fc3 and fc4, `collapsed` their product.
        dropout: rate in [0, 1) on the label's feature.
        map_dropout: rate in [0, 1) of dropping whole channels of the map.
        chunk: labels computed at once; 0 for a number that suits the device.
        normalise: scale of the map, see `MapNorm`.
        prior: where each label may look, added to its scores; `None` for everywhere.

    Raises:
        LabelwiseError: `joint` below 1, or `width` or `pool` below 0.

    Source: Chen et al., "Learning Semantic-Specific Graph Representation for Multi-Label Image Recognition" (2019).
    Differs: fc3 and fc4 are multiplied before they are applied to the map; the scale of the map and the default widths
    are ours.

    >>> import torch
    >>> from labelwise.relations import LabelVectors
    >>> head = SemanticDecoupling(8, 3, LabelVectors(3, 5), joint=4)
    >>> out = head(torch.rand(2, 8, 5, 7), want_maps=True)
    >>> out.features.shape, out.maps.sum((2, 3)).allclose(torch.ones(2, 3))
    (torch.Size([2, 3, 8]), True)
    """

    def __init__(
        self,
        channels: int,
        num_labels: int,
        vectors: nn.Module,
        joint: Count = 64,
        width: Natural = 0,
        pool: Natural = 0,
        parametrisation: Literal["factored", "collapsed"] = "factored",
        dropout: Rate = 0.0,
        map_dropout: Rate = 0.5,
        chunk: Natural = 0,
        normalise: MapNormKind = "mean",
        prior: PlacePrior | None = None,
    ) -> None:
        super().__init__()
        self.prior = prior
        held = width or channels
        self.num_labels, self.dim, self.pool, self.chunk = num_labels, held, pool, chunk
        self.norm = MapNorm(channels, normalise)
        self.map_dropout = nn.Dropout2d(map_dropout)
        self.squeeze = (
            nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width)) if width else None
        )
        self.scores = _Scores(held, vectors, joint, parametrisation == "factored")
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "B C h w"], want_maps: bool = False) -> LabelFeatures:
        """Label features of a map, optionally with attention maps of the size of the pooled map."""
        x = self.map_dropout(self.norm(x))
        if self.pool:
            # An odd last row or column is averaged over its existing locations.
            x = F.avg_pool2d(x, self.pool, self.pool, ceil_mode=True)
        if self.squeeze is not None:
            project, norm = self.squeeze
            x = batch_normed(norm, project(x))  # type: ignore[arg-type]
        tokens = self.attended(x.flatten(2).transpose(1, 2).contiguous())
        prior = None if self.prior is None else self.prior(x)
        a = add_prior(self.scores(tokens, self.chunk), prior).softmax(-1)
        features = self.dropout(a.to(tokens.dtype) @ tokens)
        if not want_maps:
            return LabelFeatures(features)
        return LabelFeatures(features, a.float().unflatten(2, x.shape[2:]), mass=x.float().sum(1))


class _Scores(nn.Module):
    """Attention scores of each label's vector at each location."""

    def __init__(self, held: int, vectors: nn.Module, joint: int, factored: bool) -> None:
        super().__init__()
        self.vectors = vectors
        self.U = nn.Linear(held, joint, bias=False)
        self.V = nn.Linear(int(vectors.dim), joint, bias=False)  # type: ignore[arg-type]
        self.fc3 = nn.Linear(joint, joint, bias=False) if factored else None
        self.fc4 = nn.Linear(joint, 1, bias=False)

    def forward(self, tokens: Float[Tensor, "B P C"], chunk: int) -> Float[Tensor, "B L P"]:
        u = self.fc4.weight if self.fc3 is None else self.fc4.weight @ self.fc3.weight
        q, k = self.U(tokens), self.V(self.vectors())
        scores = tanh_scores(
            at_least_float32(q.flatten(0, 1)), at_least_float32(k), at_least_float32(u[0]), chunk
        )
        return scores.unflatten(0, q.shape[:2]).transpose(1, 2)
