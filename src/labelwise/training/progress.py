"""Console output of a running training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from labelwise.progress import Tick, bar, console


class ProgressBar:
    """A progress bar on a terminal, plain lines elsewhere.

    Args:
        quiet: print nothing; set in all processes but the first.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._tick: Tick = lambda done, rate="": None

    @contextmanager
    def over(self, steps: int) -> Iterator[None]:
        """Show progress towards a number of optimiser steps."""
        with bar("training", steps, shown=not self._quiet) as self._tick:
            yield

    def step(self, done: int, images_per_second: float) -> None:
        """Update the bar with the steps done and the rate."""
        self._tick(done, f"{images_per_second:.0f} images/s")

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        if not self._quiet:
            console().print(line, highlight=False, markup=False, soft_wrap=True)
