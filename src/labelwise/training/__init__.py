"""The loop, and what it keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labelwise.training.config import Config
from labelwise.training.fit import fit

if TYPE_CHECKING:
    from labelwise.training.run import Run

__all__ = ["Config", "Run", "fit"]


def __getattr__(name: str) -> Any:
    """`Run` is looked up when first used: data are opened before the networks' libraries load."""
    if name != "Run":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from labelwise.training.run import Run

    return Run
