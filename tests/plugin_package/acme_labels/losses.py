"""A loss: a value for each cell; the base class masks unknown cells and reduces."""

from __future__ import annotations

from labelwise.losses import CellLoss
from labelwise.losses.functional import Reduction
from labelwise.options import Positive
from labelwise.registry import LOSSES


@LOSSES.register("brier")
class BrierLoss(CellLoss):
    """The distance of the probability from the label's state to a power.

        l(z, y) = |sigmoid(z) - y|^power

    Args:
        power: above 0; 2 is the Brier score.
        reduction: `mean_known`, `label_sum` or `sum`.
    """

    def __init__(self, power: Positive = 2.0, reduction: Reduction = "mean_known") -> None:
        super().__init__(lambda z, y: (z.sigmoid() - y).abs() ** power, reduction)
