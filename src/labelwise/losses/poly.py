"""PolyLoss: the first coefficient of the cross-entropy's series in the error of a cell is raised."""

from __future__ import annotations

from torch import Tensor

from labelwise.losses import functional as L
from labelwise.losses.classification import CellLoss
from labelwise.losses.functional import Reduction
from labelwise.options import Weight
from labelwise.registry import LOSSES


@LOSSES.register("poly")
class PolyLoss(CellLoss):
    """Binary cross-entropy plus a multiple of the probability's error, which also teaches well classified cells.

        l(z, y) = bce(z, y) + epsilon |y - sigmoid(z)|

    Args:
        epsilon: 0 or more; 0 is BCE.
        reduction: `mean_known`, `label_sum` or `sum`.

    Source: after Leng et al., "PolyLoss: A Polynomial Expansion Perspective of Classification Loss Functions" (2022).
    Differs: stated for the softmax; one sigmoid per label, so `1 - p_t` is the error of a cell.
    """

    def __init__(self, epsilon: Weight = 1.0, reduction: Reduction = "mean_known") -> None:
        super().__init__(self._poly, reduction)
        self.epsilon = epsilon

    def _poly(self, logits: Tensor, values: Tensor) -> Tensor:
        error = (values - logits.sigmoid()).abs()
        return L.binary_cross_entropy(logits, values) + self.epsilon * error
