"""One small file per paper: the composition, its defaults and its card."""

from labelwise.methods.method import Method, create_method, create_model

__all__ = ["Method", "create_method", "create_model"]
