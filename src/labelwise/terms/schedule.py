"""The epoch at which a loss term starts, and how often it updates its state between epochs."""

from __future__ import annotations

from dataclasses import dataclass

from labelwise.numerics import share_of


@dataclass(frozen=True)
class TermSchedule:
    """Schedule of a term that starts late.

    Args:
        start: share of all epochs before it starts, in [0, 1].
        refresh: epochs between refreshes; 0 for a quarter of all epochs, at least 1.

    >>> schedule = TermSchedule(0.25, 0)
    >>> schedule.first_epoch(20), schedule.first_epoch(6)
    (5, 2)
    >>> schedule.needs_refresh(9, 20, last=5), schedule.needs_refresh(10, 20, last=5)
    (False, True)
    """

    start: float
    refresh: int

    def first_epoch(self, epochs: int) -> int:
        """The first active epoch of `epochs`; `epochs` or more for none."""
        return share_of(epochs, self.start)

    def is_active(self, epoch: int, epochs: int) -> bool:
        """Whether the term is active in this epoch."""
        return epoch >= self.first_epoch(epochs)

    def needs_refresh(self, epoch: int, epochs: int, last: int) -> bool:
        """Whether this epoch starts with a refresh; `last` is the epoch of the latest one, -1 for none yet."""
        every = self.refresh or max(1, epochs // 4)
        return self.is_active(epoch, epochs) and (last < 0 or epoch - last >= every)
