"""One small module per paper, with the composition, its defaults and its card."""

from labelwise.methods.create import create_method, create_model
from labelwise.composition.method import Method

__all__ = ["Method", "create_method", "create_model"]
