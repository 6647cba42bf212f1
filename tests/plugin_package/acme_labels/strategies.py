"""A strategy for unknown cells."""

from __future__ import annotations

from typing import ClassVar

from labelwise.losses import Facts, Strategy
from labelwise.losses.unknown import StrategyInputs, Verdict
from labelwise.options import Share
from labelwise.registry import STRATEGIES


@STRATEGIES.register("half-absent")
class HalfAbsent(Strategy):
    """Unknown cells count as absent with a weight.

    Args:
        facts: of the training rows.
        weight: in [0, 1].
    """

    treatment: ClassVar[str] = "taken as absent with half the weight"

    def __init__(self, facts: Facts, weight: Share = 0.5) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, inputs: StrategyInputs) -> Verdict:
        """The weighted loss of absent labels."""
        return Verdict(self.weight * inputs.absent_cells())
