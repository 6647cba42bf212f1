"""One small module per paper, with its parts, defaults and card."""

from labelwise.methods.create import create_method, create_model

__all__ = ["create_method", "create_model"]
