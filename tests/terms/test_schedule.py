"""When terms set in."""

from __future__ import annotations

import pytest

from labelwise.terms.schedule import TermSchedule


def refreshes(schedule: TermSchedule, epochs: int) -> list[int]:
    refreshed: list[int] = []
    for epoch in range(epochs):
        if schedule.needs_refresh(epoch, epochs, refreshed[-1] if refreshed else -1):
            refreshed.append(epoch)
    return refreshed


@pytest.mark.parametrize(
    ("start", "refresh", "epochs", "at"),
    [
        (0.25, 0, 20, [5, 10, 15]),
        (0.25, 5, 20, [5, 10, 15]),
        (0.25, 0, 6, [2, 3, 4, 5]),
        (0.25, 0, 8, [2, 4, 6]),
        (0.25, 0, 3, [1, 2]),
        (0.25, 0, 1, []),
        (0.0, 2, 5, [0, 2, 4]),
        (0.7, 1, 10, [7, 8, 9]),
        (1.0, 0, 4, []),
    ],
)
def test_epochs_of_refreshes(start: float, refresh: int, epochs: int, at: list[int]) -> None:
    schedule = TermSchedule(start, refresh)
    assert refreshes(schedule, epochs) == at
    begun = [epoch for epoch in range(epochs) if schedule.is_active(epoch, epochs)]
    assert begun == list(range(at[0] if at else epochs, epochs))


def test_what_was_never_refreshed_is_due() -> None:
    assert TermSchedule(0.25, 5).needs_refresh(8, 20, last=-1)
    assert not TermSchedule(0.25, 5).needs_refresh(8, 20, last=5)
