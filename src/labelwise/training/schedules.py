"""Learning rate schedules: functions of the step, and for `plateau` of the validation figures too."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from typing import Any

import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from labelwise.runs.sections import OptimSettings


class RateSchedule:
    """Learning rate of each step over the peak rate.

    Args:
        settings: of the optimiser.
        epochs: of the whole run.
        steps_per_epoch: optimiser steps of an epoch.

    >>> schedule = RateSchedule(OptimSettings(schedule="step", milestones=[2], warmup=0.0), epochs=4, steps_per_epoch=5)
    >>> schedule.factor(9), schedule.factor(10)
    (1.0, 0.1)
    """

    def __init__(self, settings: OptimSettings, epochs: int, steps_per_epoch: int) -> None:
        self._settings, self._epochs, self._steps_per_epoch = settings, epochs, steps_per_epoch
        # torch's scheduler changes the rate of an optimiser; this dummy only holds the rate.
        self._holder = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        self._plateau = ReduceLROnPlateau(
            self._holder, mode="max", factor=settings.factor, patience=settings.plateau_patience
        )

    def factor(self, step: int) -> float:
        """In (0, 1], for a step counted from 0."""
        smooth = rate_factor(step, self._epochs * self._steps_per_epoch, self._settings)
        if self._settings.schedule == "step":
            milestones = bisect_right(self._settings.milestones, step // self._steps_per_epoch)
            return float(smooth * self._settings.factor**milestones)
        return float(smooth * self._holder.param_groups[0]["lr"])

    def judged(self, figure: float | None) -> None:
        """Called after each epoch.

        Args:
            figure: the metric by which the epoch is chosen, larger is better; `None` counts as no improvement.
        """
        if self._settings.schedule == "plateau":
            self._plateau.step(-math.inf if figure is None else figure)

    def state_dict(self) -> dict[str, Any]:
        """The state of the plateau schedule."""
        return {"rate": self._holder.param_groups[0]["lr"], "plateau": self._plateau.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load a saved state."""
        self._holder.param_groups[0]["lr"] = state["rate"]
        self._plateau.load_state_dict(dict(state["plateau"]))


def rate_factor(step: int, steps: int, settings: OptimSettings) -> float:
    """Learning rate of a step over the peak rate, in (0, 1], without the milestones of `step` and `plateau`.

    `cosine`: linear rise over the warm-up, then a half cosine to 0; `one-cycle`: a half cosine from 1/25 up over the
    warm-up, then a half cosine to 1e-4 / 25; others: linear rise, then 1.

    >>> rate_factor(10, 100, OptimSettings(warmup=0.1))
    1.0
    """
    rise = settings.warmup * steps
    falling = (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1.0, steps - rise)))) / 2
    if settings.schedule == "one-cycle":
        low, end = 1 / 25, 1e-4 / 25
        if step < rise:
            return low + (1 - low) * (1 - math.cos(math.pi * step / rise)) / 2
        return end + (1 - end) * falling
    if step < rise:
        return (step + 1) / (rise + 1)
    return falling if settings.schedule == "cosine" else 1.0
