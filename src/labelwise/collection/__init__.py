"""Collections: stored label features of many images, for search, groups and new labels."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from labelwise.collection.collection import Collection

if TYPE_CHECKING:
    from labelwise.collection.embedding import Done, embed
    from labelwise.collection.teaching import Taught, teach

__all__ = ["Collection", "Done", "Taught", "embed", "teach"]
_HOME = {"Done": "embedding", "embed": "embedding", "Taught": "teaching", "teach": "teaching"}


def __getattr__(name: str) -> Any:
    # Reading a collection does not load torch.
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
