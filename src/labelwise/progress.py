"""Progress bars with the time left, on a terminal and only there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

Tick: TypeAlias = Callable[..., None]
"""Called with the number of finished items, and optionally a rate to show."""


@dataclass
class _Screen:
    """The bars of this process."""

    shown: bool = False  # bars of library functions; the program turns them on
    bars: Progress | None = None
    open: int = 0


_screen = _Screen()


def show_bars() -> None:
    """Show the bars of all long loops from here on. Without this call only those of `bar(..., shown=True)` appear."""
    _screen.shown = True


@cache
def console() -> Console:
    """The console on standard error. Lines printed by it appear above the bars."""
    from rich.console import Console

    return Console(stderr=True)


@contextmanager
def bar(task: str, total: int, shown: bool | None = None) -> Iterator[Tick]:
    """Show a bar while the block runs; bars of blocks within it appear below.

    Args:
        task: name of the work.
        total: number of items.
        shown: whether to show it; `None` as set by `show_bars`.

    Yields:
        a function that takes the number of finished items.
    """
    visible = _screen.shown if shown is None else shown
    if not visible or not console().is_terminal:
        yield lambda done, rate="": None
        return
    if _screen.bars is None:
        _screen.bars = _bars()
        _screen.bars.start()
    bars, _screen.open = _screen.bars, _screen.open + 1
    task_id = bars.add_task(task, total=total, rate="")
    try:
        yield lambda done, rate="": bars.update(task_id, completed=done, rate=rate)
    finally:
        bars.remove_task(task_id)
        _screen.open -= 1
        if not _screen.open:
            bars.stop()
            _screen.bars = None


def _bars() -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console(), transient=True)
