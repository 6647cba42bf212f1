"""Console output of a running training."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class Watch:
    """A progress bar on a terminal, plain lines elsewhere.

    Args:
        quiet: print nothing; set in all processes but the first.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._console = Console(file=sys.stderr)
        self._bar: Progress | None = None
        self._task = TaskID(0)

    @contextmanager
    def over(self, steps: int) -> Iterator[None]:
        """Show progress towards a number of optimiser steps."""
        if self._quiet or not self._console.is_terminal:
            yield
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._console) as self._bar:
            self._task = self._bar.add_task("training", total=steps, rate="")
            yield
        self._bar = None

    def step(self, done: int, images_per_second: float) -> None:
        """Update the bar with the steps done and the rate."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, rate=f"{images_per_second:.0f} images/s")

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        if not self._quiet:
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)
