"""Bars appear on a terminal only, nest, and leave nothing behind."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from labelwise import progress
from labelwise.progress import bar


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """A terminal that records what is written to it."""
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=100)
    monkeypatch.setattr(progress, "console", lambda: console)
    monkeypatch.setattr(progress, "_screen", progress._Screen())
    return text


def test_bars_nest_and_show_what_is_done(screen: io.StringIO) -> None:
    with bar("outer work", 10, shown=True) as outer:
        outer(4, "7 images/s")
        with bar("inner work", 3, shown=True) as inner:
            inner(2)
            assert progress._screen.bars is not None
            progress._screen.bars.refresh()
        progress.console().print("a line")
        assert progress._screen.open == 1
        progress._screen.bars.refresh()
    shown = screen.getvalue()
    for part in ("outer work", "4/10", "7 images/s", "inner work", "2/3", "a line"):
        assert part in shown
    assert progress._screen.bars is None


def test_a_loop_that_fails_takes_its_bar_away(screen: io.StringIO) -> None:
    with pytest.raises(KeyError), bar("work", 2, shown=True):
        raise KeyError
    assert progress._screen.bars is None


@pytest.mark.parametrize(("shown", "terminal"), [(None, True), (True, False), (False, True)])
def test_functions_called_from_python_show_nothing(
    screen: io.StringIO, monkeypatch: pytest.MonkeyPatch, shown: bool | None, terminal: bool
) -> None:
    console = Console(file=screen, force_terminal=terminal)
    monkeypatch.setattr(progress, "console", lambda: console)
    with bar("work", 2, shown=shown) as tick:
        tick(1)
    assert screen.getvalue() == ""


def test_the_program_shows_the_bars_of_functions(screen: io.StringIO) -> None:
    progress.show_bars()
    with bar("work", 2) as tick:
        tick(1)
        assert progress._screen.bars is not None
        progress._screen.bars.refresh()
    assert "1/2" in screen.getvalue()
