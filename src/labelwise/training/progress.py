"""What a person sees while training runs."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Watch:
    """A progress bar on a terminal, plain lines elsewhere, silence on all processes but the first.

    Args:
        steps: optimiser steps of the whole run.
        quiet: say nothing.
    """

    def __init__(self, steps: int, quiet: bool = False) -> None:
        self._quiet = quiet
        self._console = Console(file=sys.stderr)
        live = self._console.is_terminal and not quiet
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=self._console) if live else None
        self._task = self._bar.add_task("training", total=steps, rate="") if self._bar else None

    def __enter__(self) -> Watch:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def step(self, done: int, images_per_second: float) -> None:
        """Steps done so far, and the rate."""
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=done, rate=f"{images_per_second:.0f} images/s")

    def say(self, line: str) -> None:
        """One line that stays."""
        if not self._quiet:
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)
