"""When a term of the loss sets in, and how often it refreshes what it learns between epochs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from labelwise.errors import LabelwiseError


@dataclass(frozen=True)
class Schedule:
    """Epochs of a term that sets in late.

    Args:
        start: share of all epochs before it begins, in [0, 1].
        refresh: epochs from one refresh to the next; 0 for a quarter of all epochs, at least 1.

    >>> schedule = Schedule(0.25, 0)
    >>> schedule.first(20), schedule.due(9, 20, last=5), schedule.due(10, 20, last=5), schedule.first(6)
    (5, False, True, 2)
    """

    start: float
    refresh: int

    def first(self, epochs: int) -> int:
        """The first epoch of `epochs` in which the term acts; `epochs` or more for none."""
        return math.ceil(self.start * epochs - 1e-9)

    def begun(self, epoch: int, epochs: int) -> bool:
        """Whether the term acts in this epoch."""
        return epoch >= self.first(epochs)

    def due(self, epoch: int, epochs: int, last: int) -> bool:
        """Whether this epoch begins with a refresh, where the epoch `last` began with one; -1 for none yet."""
        every = self.refresh or max(1, epochs // 4)
        return self.begun(epoch, epochs) and (last < 0 or epoch - last >= every)


def within(name: str, value: float, low: float, high: float = math.inf) -> None:
    """Refuse an option outside of [low, high].

    Raises:
        LabelwiseError: it is outside, or no number.
    """
    if not low <= value <= high:
        expected = f"at least {low:g}" if high == math.inf else f"{low:g} to {high:g}"
        raise LabelwiseError(f"{name}={value:g}", expected, "correct the option")
