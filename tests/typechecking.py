"""The runtime type checker of the tests: whole numbers pass for floats, as in Python's own typing.

jaxtyping has each argument checked twice, binds it by name at each call, and compiles a function inside another anew
whenever the other is called; all this costs as much time as what small models compute. Here the checker stands over the
function itself, with the sizes of dimensions kept for the call where an annotation has a shape.
"""

from __future__ import annotations

import functools
import inspect
import types
from typing import Any, get_args, get_type_hints

import jaxtyping
from beartype import BeartypeConf, beartype
from jaxtyping import _decorator
from jaxtyping._storage import pop_shape_memo, push_shape_memo

checked = beartype(conf=BeartypeConf(is_pep484_tower=True, violation_type=jaxtyping.TypeCheckError))
"""What it refuses is a `TypeError`, as jaxtyping's own are: the library takes some for a file of another form."""
_as_jaxtyping_does = _decorator.jaxtyped
_inner: dict[types.CodeType, types.FunctionType] = {}
"""Checks of functions inside others, which are made anew at each call, by their code."""


def _has_shape(hint: Any) -> bool:
    """Whether a shape stands anywhere in an annotation."""
    if isinstance(hint, type) and issubclass(hint, jaxtyping.AbstractArray):
        return True
    parts = hint if isinstance(hint, list | tuple) else get_args(hint)
    return any(_has_shape(part) for part in parts)


def _copy(fn: types.FunctionType) -> types.FunctionType:
    made = types.FunctionType(fn.__code__, fn.__globals__, fn.__name__, fn.__defaults__, fn.__closure__)
    for name in ("__kwdefaults__", "__qualname__", "__module__", "__doc__"):
        setattr(made, name, getattr(fn, name))
    made.__dict__.update(fn.__dict__)
    return made


def _checked(fn: types.FunctionType, hints: dict[str, Any]) -> types.FunctionType:
    """The function under the checker, with its annotations as they are written."""
    found = _copy(fn)
    found.__annotations__ = hints
    wrapper = checked(found)
    wrapper.__annotations__ = fn.__annotations__
    return wrapper


def _again(wrapper: types.FunctionType, fn: types.FunctionType) -> types.FunctionType:
    """The checks of a function over another with the same code."""
    made = _copy(wrapper)
    made.__kwdefaults__ = {**(made.__kwdefaults__ or {}), "__beartype_func": fn}
    return made


def _with_sizes(fn: types.FunctionType) -> Any:
    """The function, for each call of which the sizes of dimensions are kept."""

    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        push_shape_memo({})
        try:
            return fn(*args, **kwargs)
        finally:
            pop_shape_memo()

    return call


def _stands_over(fn: types.FunctionType) -> Any:
    """The function under the checker, or `None` where only jaxtyping can put it there."""
    wrapper = _inner.get(fn.__code__)
    if wrapper is not None:
        wrapper = _again(wrapper, fn)
    else:
        try:
            hints = get_type_hints(fn, include_extras=True)
        except (
            Exception
        ):  # a name that only the static checker has: jaxtyping leaves out that annotation alone
            return None
        shapes = any(map(_has_shape, hints.values()))
        if shapes and (inspect.isgeneratorfunction(fn) or inspect.iscoroutinefunction(fn)):
            return None
        wrapper = _checked(fn, hints)
        wrapper.__has_shapes__ = shapes  # type: ignore[attr-defined]
        if "<locals>" in fn.__qualname__ and "__beartype_func" in (wrapper.__kwdefaults__ or {}):
            _inner[fn.__code__] = wrapper
    wrapper.__wrapped__ = fn  # type: ignore[attr-defined]
    return _with_sizes(wrapper) if wrapper.__has_shapes__ else wrapper  # type: ignore[attr-defined]


def jaxtyped(fn: Any = _decorator._sentinel, *, typechecker: Any = _decorator._sentinel) -> Any:
    """As jaxtyping's own, with less to do at each call."""
    if fn is _decorator._sentinel and typechecker is not _decorator._sentinel:
        return lambda fn: jaxtyped(fn, typechecker=typechecker)
    over = _stands_over(fn) if isinstance(fn, types.FunctionType) else None
    return _as_jaxtyping_does(fn, typechecker=typechecker) if over is None else over


_decorator.jaxtyped = jaxtyping.jaxtyped = jaxtyped
