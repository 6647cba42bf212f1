"""Libraries that are imported on first use, so that reading tables does not load torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch as torch
    from torchvision.transforms import v2 as v2
else:

    class _Lazy:
        """A module that is imported on the first access to one of its names."""

        def __init__(self, name: str) -> None:
            self._module = name

        def __getattr__(self, name: str) -> Any:
            return getattr(import_module(self._module), name)

    torch = _Lazy("torch")
    v2 = _Lazy("torchvision.transforms.v2")
