"""Progress bars of long commands."""

from __future__ import annotations

from collections.abc import Callable


class Progress:
    """Progress bars on a terminal, nothing elsewhere."""

    def __enter__(self) -> Progress:
        from rich.console import Console
        from rich.progress import Progress

        console = Console(stderr=True)
        self._bars = Progress(console=console, transient=True, disable=not console.is_terminal)
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def task(self, name: str, total: int) -> Callable[[int], None]:
        """Add a bar; the returned function takes the number of finished items."""
        bar = self._bars.add_task(name, total=total)
        return lambda done: self._bars.update(bar, completed=done)
