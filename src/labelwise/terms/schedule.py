"""The epoch at which a loss term starts, and how often it updates its state between epochs."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class TermSchedule:
    """Schedule of a term that starts late.

    Args:
        start: share of all epochs before it starts, in [0, 1].
        refresh: epochs between refreshes; 0 for a quarter of all epochs, at least 1.

    >>> schedule = TermSchedule(0.25, 0)
    >>> schedule.first(20), schedule.due(9, 20, last=5), schedule.due(10, 20, last=5), schedule.first(6)
    (5, False, True, 2)
    """

    start: float
    refresh: int

    def first(self, epochs: int) -> int:
        """The first active epoch of `epochs`; `epochs` or more for none."""
        return math.ceil(self.start * epochs - 1e-9)

    def begun(self, epoch: int, epochs: int) -> bool:
        """Whether the term is active in this epoch."""
        return epoch >= self.first(epochs)

    def due(self, epoch: int, epochs: int, last: int) -> bool:
        """Whether this epoch starts with a refresh; `last` is the epoch of the latest one, -1 for none yet."""
        every = self.refresh or max(1, epochs // 4)
        return self.begun(epoch, epochs) and (last < 0 or epoch - last >= every)
