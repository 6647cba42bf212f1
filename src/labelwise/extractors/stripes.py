"""Each label's feature pooled from a fixed horizontal stripe: a body part for an attribute, without learning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from labelwise.extractors.normalise import MapNormKind
from labelwise.extractors.pooled import Pooled
from labelwise.extractors.regions import regions_of
from labelwise.options import Natural, Rate
from labelwise.registry import EXTRACTORS
from labelwise.types import LabelFeatures, LabelSet

Stripe = tuple[float, float]
WHOLE: Stripe = (0.0, 1.0)


def stripes_of(labels: LabelSet, given: Mapping[str, Sequence[float]] | None = None) -> dict[str, Stripe]:
    """Top and bottom of the region of each label that has one, see `regions_of`.

    >>> stripes_of(LabelSet(("hat", "bag")), {"hat": [0, 0.2]})
    {'hat': (0.0, 0.2)}
    """
    regions = regions_of(labels, given, "extractor.stripes", stripes=True)
    return {name: region[:2] for name, region in regions.items()}


@EXTRACTORS.register("stripes")
class Stripes(Pooled):
    """A label's feature is the mean over a horizontal stripe of the map: `f_l = g(sum_p W_lp x_p)`.

    `W_lp` is the share of the stripe of label `l` that lies in row `y(p)`, divided by the number of columns. `g` is
    that of `Pooled`, shared by all labels. A label without a stripe is pooled from the whole map; without any stripe,
    the module equals `Pooled`. The class activation map lies in the stripe.

    Args:
        channels: C of the map.
        num_labels: L.
        labels: the labels with their groups.
        stripes: top and bottom of labels or groups of labels, as fractions of the height in [0, 1]; without them, those
            of the parts of a pedestrian, `STRIPES` of `regions.py`.
        hidden: width of the hidden layer; 0 for none.
        dropout: rate in [0, 1) on the output of the hidden layer.
        map_dropout: rate in [0, 1) of dropping whole channels of the map.
        normalise: scale of the map, see `MapNorm`.

    Raises:
        LabelwiseError: see `stripes_of`.

    >>> labels = LabelSet(("hat", "bag"))
    >>> x = torch.tensor([1.0, 2.0]).view(1, 1, 2, 1)
    >>> Stripes(1, 2, labels, {"hat": [0, 0.5]}, normalise="none")(x).features.flatten().tolist()
    [1.0, 1.5]
    """

    edges: Tensor
    stripe_of: Tensor

    def __init__(
        self,
        channels: int,
        num_labels: int,
        labels: LabelSet,
        stripes: Mapping[str, Sequence[float]] | None = None,
        hidden: Natural = 0,
        dropout: Rate = 0.0,
        map_dropout: Rate = 0.0,
        normalise: MapNormKind = "mean",
    ) -> None:
        super().__init__(channels, num_labels, "mean", hidden, False, dropout, map_dropout, normalise)
        own = stripes_of(labels, stripes)
        of_labels = [own.get(label, WHOLE) for label in labels.names]
        distinct = list(dict.fromkeys(of_labels))
        # From the settings and the labels, not from the weights.
        self.register_buffer("edges", torch.tensor(distinct), persistent=False)
        stripe_of = torch.tensor([distinct.index(stripe) for stripe in of_labels])
        self.register_buffer("stripe_of", stripe_of, persistent=False)

    def forward(self, x: Float[Tensor, "B C h w"], want_maps: bool = False) -> LabelFeatures:
        """Label features of a map."""
        rows = self.map_dropout(self.norm(x)).mean(3)
        pooled = rows @ self._rows(x).to(rows).T
        return LabelFeatures(self.dropout(self.hidden(pooled.transpose(1, 2)))[:, self.stripe_of])

    def weights(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "L P"]:
        """`W_lp`: the weight of each location for each label, with sum 1."""
        rows = self._rows(x)[self.stripe_of] / x.shape[3]
        return rows.repeat_interleave(x.shape[3], 1).to(x)

    def _rows(self, x: Tensor) -> Float[Tensor, "S h"]:
        """The share of each distinct stripe in each row of a map."""
        lines = torch.arange(x.shape[2] + 1, device=x.device) / x.shape[2]
        top, bottom = self.edges.unbind(1)
        inside = lines.to(top).expand(len(top), -1).clamp(top[:, None], bottom[:, None])
        return inside.diff() / (bottom - top)[:, None]
