"""The runtime type checker of the tests: whole numbers pass for floats, as in Python's own typing.

jaxtyping keeps the sizes of dimensions for each call, and has each argument checked twice, which costs as much time
as what small models compute. Where no annotation of a function has a shape there is nothing to keep, and the checker
alone stands over it.
"""

from __future__ import annotations

import types
from typing import Any, get_args, get_type_hints

import jaxtyping
from beartype import BeartypeConf, beartype
from jaxtyping import _decorator

checked = beartype(conf=BeartypeConf(is_pep484_tower=True, violation_type=jaxtyping.TypeCheckError))
"""What it refuses is a `TypeError`, as jaxtyping's own are: the library takes some for a file of another form."""
_with_shapes = _decorator.jaxtyped


def _has_shape(hint: Any) -> bool:
    """Whether a shape stands anywhere in an annotation."""
    if isinstance(hint, type) and issubclass(hint, jaxtyping.AbstractArray):
        return True
    parts = hint if isinstance(hint, list | tuple) else get_args(hint)
    return any(_has_shape(part) for part in parts)


def _alone(fn: types.FunctionType, hints: dict[str, Any]) -> Any:
    """The function under the checker alone, with its annotations as they are written."""
    found = types.FunctionType(fn.__code__, fn.__globals__, fn.__name__, fn.__defaults__, fn.__closure__)
    for name in ("__kwdefaults__", "__qualname__", "__module__", "__doc__"):
        setattr(found, name, getattr(fn, name))
    found.__dict__.update(fn.__dict__)
    found.__annotations__ = hints
    wrapper = checked(found)
    wrapper.__annotations__, wrapper.__wrapped__ = fn.__annotations__, fn
    return wrapper


def jaxtyped(fn: Any = _decorator._sentinel, *, typechecker: Any = _decorator._sentinel) -> Any:
    """As jaxtyping's own, except for functions without shapes."""
    if fn is _decorator._sentinel and typechecker is not _decorator._sentinel:
        return lambda fn: jaxtyped(fn, typechecker=typechecker)
    if isinstance(fn, types.FunctionType):
        try:
            hints = get_type_hints(fn, include_extras=True)
        except (
            Exception
        ):  # a name that only the static checker has: jaxtyping leaves out that annotation alone
            hints = None
        if hints is not None and not any(map(_has_shape, hints.values())):
            return _alone(fn, hints)
    return _with_shapes(fn, typechecker=typechecker)


_decorator.jaxtyped = jaxtyping.jaxtyped = jaxtyped
