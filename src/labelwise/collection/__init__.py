"""Collections: stored label features of many images, for search, groups and new labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labelwise.collection.collection import Collection
from labelwise.lazy import names_of

if TYPE_CHECKING:
    from labelwise.collection.embedding import Done, embed
    from labelwise.collection.teaching import Taught, teach

__all__ = ["Collection", "Done", "Taught", "embed", "teach"]
_HOME = {"Done": "embedding", "embed": "embedding", "Taught": "teaching", "teach": "teaching"}
__getattr__ = names_of(__name__, _HOME)  # reading a collection does not load torch
