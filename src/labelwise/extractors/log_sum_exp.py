"""One feature for all labels, pooled by log-sum-exp: between the mean and the maximum over places."""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor

from labelwise.extractors.normalise import MapNormKind
from labelwise.extractors.pooled import Pooled
from labelwise.options import Natural, Positive, Rate
from labelwise.registry import EXTRACTORS


@EXTRACTORS.register("log-sum-exp")
class LogSumExp(Pooled):
    """One vector for every label, pooled by a smooth maximum: `f_l = (1 / r) log mean_p exp(r x_p)`.

    It is the mean over places for small r and the maximum for large r.

    Args:
        channels: C of the map.
        num_labels: L.
        sharpness: r, above 0.
        hidden: width of the hidden layer; 0 for none.
        dropout: rate in [0, 1) on the output of the hidden layer.
        map_dropout: rate in [0, 1) of dropping whole channels of the map.
        normalise: scale of the map, see `MapNorm`.

    Source: Pinheiro and Collobert, "From Image-Level to Pixel-Level Labeling with Convolutional Networks" (2015).
    Differs: features are pooled, not scores; the map is divided by the root mean square of its mean feature.
    """

    def __init__(
        self,
        channels: int,
        num_labels: int,
        sharpness: Positive = 5.0,
        hidden: Natural = 0,
        dropout: Rate = 0.0,
        map_dropout: Rate = 0.0,
        normalise: MapNormKind = "mean",
    ) -> None:
        super().__init__(channels, num_labels, "mean", hidden, False, dropout, map_dropout, normalise)
        self.sharpness = sharpness

    def _pool(self, x: Float[Tensor, "B D P"]) -> Float[Tensor, "B D"]:
        return ((self.sharpness * x).logsumexp(2) - math.log(x.shape[2])) / self.sharpness
