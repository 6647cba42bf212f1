"""Libraries that load when they are first used: who only reads tables does not wait for torch, nor holds it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch as torch
    from torchvision.transforms import v2 as v2
else:

    class _Lazy:
        """A module that is imported when one of its names is asked for."""

        def __init__(self, name: str) -> None:
            self._module = name

        def __getattr__(self, name: str) -> Any:
            return getattr(import_module(self._module), name)

    torch = _Lazy("torch")
    v2 = _Lazy("torchvision.transforms.v2")
