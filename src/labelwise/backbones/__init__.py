"""images -> feature map: any timm feature model."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labelwise.backbones.timm_backbone import TimmBackbone
    from labelwise.backbones.weights import load_weights, package_architecture

_HOME = {
    "TimmBackbone": "timm_backbone",
    "load_weights": "weights",
    "package_architecture": "weights",
}
__all__ = ["TimmBackbone", "load_weights", "package_architecture"]


def __getattr__(name: str) -> Any:
    """Import a name on first use, since the command line needs only `package_architecture`, which loads no timm."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
