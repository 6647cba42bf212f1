"""What labels have to do with each other: vectors of their names, co-occurrence, graphs."""

from labelwise.relations.vectors import LabelVectors

__all__ = ["LabelVectors"]
