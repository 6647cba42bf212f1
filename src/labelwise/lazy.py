"""Libraries that are imported on first use, so that predicting and reading tables load neither torch nor jaxtyping."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module, util
from typing import TYPE_CHECKING, Any

from labelwise.errors import LabelwiseError

if TYPE_CHECKING:
    import torch as torch
    from jaxtyping import Bool as Bool
    from jaxtyping import Float as Float
    from jaxtyping import Float64 as Float64
    from jaxtyping import UInt8 as UInt8
    from torchvision.transforms import v2 as v2
else:

    class _Lazy:
        """A module that is imported on the first access to one of its names."""

        def __init__(self, name: str) -> None:
            self._module = name

        def __getattr__(self, name: str) -> Any:
            return getattr(import_module(self._module), name)

    class _Shape:
        """A type of arrays; annotations are texts, so only a type checker imports its library."""

        def __init__(self, name: str) -> None:
            self._name = name

        def __getitem__(self, shape: Any) -> Any:
            return getattr(import_module("jaxtyping"), self._name)[shape]

    torch = _Lazy("torch")
    v2 = _Lazy("torchvision.transforms.v2")
    Bool, Float, Float64, UInt8 = map(_Shape, ("Bool", "Float", "Float64", "UInt8"))


def require_package(package: str, given: str, extra: str) -> None:
    """Raises `LabelwiseError` if a package is not installed.

    Args:
        package: the name that is imported.
        given: what cannot be done without it, as the message begins.
        extra: the extra of labelwise that installs it.
    """
    if util.find_spec(package) is None:
        raise LabelwiseError(
            given, f"the package {package.replace('_', '-')}", f"run: pip install 'labelwise[{extra}]'"
        )


def names_of(package: str, home: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package whose names are imported on first use.

    Args:
        package: its name.
        home: name -> module of the package that defines it.
    """

    def lookup(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{home[name]}"), name)

    return lookup
