"""Collections: stored label features of many images, for search, groups and new labels."""

from labelwise.collection.collection import Collection
from labelwise.collection.embedding import Done, embed

__all__ = ["Collection", "Done", "embed"]
