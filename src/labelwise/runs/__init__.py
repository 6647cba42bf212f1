"""A run on disk: settings, weights and decisions; files are replaced as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labelwise.runs.config import Config

if TYPE_CHECKING:
    from labelwise.runs.run import Run

__all__ = ["Config", "Run"]


def __getattr__(name: str) -> Any:
    """Import `Run` on first use, since data are opened before the networks' libraries are loaded."""
    if name != "Run":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from labelwise.runs.run import Run

    return Run
