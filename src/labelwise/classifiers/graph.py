"""A classifier with weights computed from the labels' vectors and their graph."""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn

from labelwise.options import Count, Share, Weight
from labelwise.registry import CLASSIFIERS
from labelwise.types import LabelPriors


@CLASSIFIERS.register("graph")
class GraphClassifier(nn.Module):
    """`z_l = scale <W_l, f_l>` with `W = GCN(E, A)`: a label's weights depend on its vector and its neighbours'.

    The scale is `1 / sqrt(hidden)`. An optimiser step changes each weight `W_ld` by a sum over `hidden` products, so
    without the scale, learning rates of a plain linear classifier would be too high.

    Args:
        num_labels: L.
        dim: D of the features.
        weights: builds the module that returns `[L, D]`; called with `dim`, `num_labels`, `priors` and the options.
        hidden: width between the layers of the graph network, >= 1.
        threshold: conditional probability between two labels above which there is an edge, in [0, 1].
        share: total weight of all neighbours of a label, >= 0.
        kappa: weight of the base rate in the conditional probability, in images, >= 0.
        inclusive: a conditional probability equal to the threshold is also an edge, as in the released code.
        priors: counts of the training split.

    Source: Chen et al., "Multi-Label Image Recognition with Graph Convolutional Networks" (2019).
    Differs: the scale, and `hidden`'s default.

    >>> import functools, torch
    >>> from labelwise.relations import GCN, LabelVectors
    >>> made = functools.partial(GCN, vectors=LabelVectors(3, 5))
    >>> GraphClassifier(3, 4, made)(torch.ones(2, 3, 4)).shape
    torch.Size([2, 3])
    """

    def __init__(
        self,
        num_labels: int,
        dim: int,
        weights: Callable[..., nn.Module],
        hidden: Count = 256,
        threshold: Share = 0.4,
        share: Weight = 0.25,
        kappa: Weight = 10.0,
        inclusive: bool = False,
        priors: LabelPriors | None = None,
    ) -> None:
        super().__init__()
        self.weights = weights(
            dim=dim,
            num_labels=num_labels,
            priors=priors,
            hidden=hidden,
            threshold=threshold,
            share=share,
            kappa=kappa,
            inclusive=inclusive,
        )
        self.scale = hidden**-0.5

    def forward(self, features: Float[Tensor, "B L D"], shared: bool = False) -> Float[Tensor, "B L"]:
        """Logits of label features; if `shared`, the feature of the first label is that of all."""
        w = self.weights() * self.scale
        if shared:  # a plain matrix product
            return nn.functional.linear(features[:, 0], w)
        return (features * w).sum(-1)
