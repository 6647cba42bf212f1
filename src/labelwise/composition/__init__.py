"""Composition of a method: a model and its loss, from options; growth and added labels."""

from labelwise.composition.method import Method

__all__ = ["Method"]
