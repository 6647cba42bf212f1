"""Collections: stored label features of many images, for search, groups and new labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labelwise.collection.collection import Collection

if TYPE_CHECKING:
    from labelwise.collection.embedding import Done, embed

__all__ = ["Collection", "Done", "embed"]


def __getattr__(name: str) -> Any:
    # Reading a collection does not load torch.
    if name not in ("Done", "embed"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from labelwise.collection import embedding

    return getattr(embedding, name)
