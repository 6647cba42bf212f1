"""Options of a part, read from its signature and docstring: names, types, bounds, defaults and meanings.

A part is a class or function. An option is an argument with a default and a plain type (a number, text, true or false,
choices, or lists and mappings of those); other arguments are passed by the composition. Bounds are written in the
annotation, `weight: Annotated[float, Field(ge=0)]`, and meanings under `Args:` of the docstring.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache, wraps
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, ValidationError, create_model
from pydantic.fields import FieldInfo

from labelwise.errors import LabelwiseError, advice, first_line

Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
Cosine = Annotated[float, Field(ge=-1, le=1)]
Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]

Control = Literal["uniform-attention", "no-edges"]
"""What an experiment takes away from a method, see `labelwise.composition.controls`."""

Class = TypeVar("Class", bound=type)
_SCALARS = (bool, int, float, str)
_BOUNDS = {"ge": "from", "gt": "above", "le": "to", "lt": "below"}


@cache
def options_model(part: Callable[..., Any]) -> type[BaseModel]:
    """The options of a part as a pydantic model; unknown names and values of other types are refused.

    >>> def loss(logits: list, gamma: Annotated[float, Field(ge=0)] = 2.0): ...
    >>> options_model(loss)(gamma=1).gamma
    1.0
    """
    hints = get_type_hints(part.__init__ if inspect.isclass(part) else part, include_extras=True)
    meanings = _meanings(part)
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(part).parameters.items():
        if parameter.default is not inspect.Parameter.empty and _is_plain(hints.get(name)):
            meaning = Field(parameter.default, description=meanings.get(name, ""))
            fields[name] = (_strict(hints[name]), meaning)
    config = ConfigDict(extra="forbid", allow_inf_nan=False)
    return create_model(part.__name__, __config__=config, __doc__=first_sentence(part), **fields)


def first_sentence(part: Callable[..., Any]) -> str:
    """The first sentence of a part's docstring."""
    return " ".join((inspect.getdoc(part) or "").partition("\n\n")[0].split())


def checked_options(
    part: Callable[..., Any], options: Mapping[str, Any], section: str, given: Collection[str] = ()
) -> dict[str, Any]:
    """The options with values of the annotated types.

    Args:
        part: whose options they are.
        options: by name.
        section: name of their section in the settings, for errors.
        given: arguments that options cannot set.

    Raises:
        LabelwiseError: an unknown option, or a value of another type or out of range.
    """
    model = options_model(part)
    names = [name for name in model.model_fields if name not in given]
    for name in options:
        if name not in names:
            expected = f"one of {', '.join(names)}" if names else "no options"
            todo = advice(name, names, f"{section}.", "correct the option")
            raise LabelwiseError(f"{section}.{name}", expected, todo)
    try:
        validated = model.model_validate(dict(options))
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        expected = values_in_words(model.model_fields[name]) or str(first["msg"]).lower()
        todo = advice(str(options[name]), _choices(model.model_fields[name]), otherwise="correct the option")
        raise LabelwiseError(f"{section}.{name}={options[name]!r}", expected, todo) from None
    return {name: getattr(validated, name) for name in options}


def values_in_words(field: FieldInfo) -> str:
    """The values that an option takes, in words; empty for lists and mappings.

    >>> def loss(logits: list, gamma: Annotated[float, Field(ge=0)] = 2.0): ...
    >>> values_in_words(options_model(loss).model_fields["gamma"])
    'a number from 0'
    """
    if choices := _choices(field):
        return f"one of {', '.join(choices)}"
    kinds = {bool: "true or false", str: "text", int: "a whole number", float: "a number"}
    kind = kinds.get(field.annotation) if isinstance(field.annotation, type) else None
    if kind is None:
        return ""
    bounds = {name: getattr(m, name) for m in field.metadata for name in _BOUNDS if hasattr(m, name)}
    words = [
        f"{_BOUNDS[name] if name != 'le' or 'ge' in bounds else 'up to'} {bounds[name]:g}" for name in bounds
    ]
    joined = " and ".join(words) if bounds.keys() & {"gt", "lt"} else " ".join(words)
    return f"{kind} {joined}".rstrip()


def build_part(
    part: Callable[..., Any],
    section: str,
    options: Mapping[str, Any],
    given: Mapping[str, Any],
    name: str = "",
) -> Any:
    """Build a part from its options and from the arguments that the composition passes.

    Args:
        part: a class or function.
        section: name of its options in the settings, for errors.
        options: by name.
        given: fixed arguments, which options cannot set.
        name: of the part, for errors; by default that of the class.

    Raises:
        LabelwiseError: an unknown option, a value that does not fit, or an argument that nothing passes.
    """
    values = checked_options(part, options, section, given)
    parameters = inspect.signature(part).parameters.values()
    needed = {p.name for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD}
    if missing := sorted(needed - set(given)):
        raise LabelwiseError(
            f"{section} {(name or part.__name__)!r} without {', '.join(missing)}",
            "what its method or data pass to it",
            "pass it, or choose another one",
        )
    try:
        return part(**given, **values)
    except LabelwiseError:
        raise
    except (ValueError, TypeError, AttributeError, RuntimeError, ArithmeticError) as error:
        raise LabelwiseError(
            f"{section} options {dict(options)} ({first_line(error)})", "values that fit", "correct them"
        ) from None


def taken_arguments(part: Callable[..., Any], context: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a context that a part takes as arguments and not as options."""
    names = inspect.signature(part).parameters.keys() - options_model(part).model_fields.keys()
    return {name: value for name, value in context.items() if name in names}


def checking(section: str) -> Callable[[Class], Class]:
    """A class decorator: the class checks its options whenever it is built.

    Args:
        section: name of its options in the settings, for errors.
    """

    def decorate(part: Class) -> Class:
        init, signature = part.__init__, inspect.signature(part.__init__)  # type: ignore[misc]

        @wraps(init)
        def checked_init(self: Any, *args: Any, **kwargs: Any) -> None:
            bound = signature.bind(self, *args, **kwargs)
            fields = options_model(part).model_fields
            options = {name: value for name, value in bound.arguments.items() if name in fields}
            bound.arguments.update(checked_options(part, options, section))
            init(*bound.args, **bound.kwargs)

        part.__init__ = checked_init  # type: ignore[misc]
        return part

    return decorate


def _is_plain(hint: Any) -> bool:
    """Whether a type is one of options: scalars, choices, or collections of these."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _is_plain(arguments[0])
    if origin is Literal or hint in (*_SCALARS, NoneType):
        return True
    if origin in (Union, UnionType, list, tuple, dict) or origin in (Sequence, Mapping):
        return all(_is_plain(argument) for argument in arguments if argument is not Ellipsis)
    return False


def _strict(hint: Any) -> Any:
    """A scalar without conversion, but that a whole number may be written as 1e2."""
    base = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if base is int:
        return Annotated[hint, Strict(), BeforeValidator(_as_whole_number)]
    return Annotated[hint, Strict()] if base in _SCALARS else hint


def _as_whole_number(value: Any) -> Any:
    """A float without a fraction as an integer; other values unchanged."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _choices(field: FieldInfo) -> list[str]:
    """The values of an option that has a fixed set of them."""
    if get_origin(field.annotation) is not Literal:
        return []
    return [str(value) for value in get_args(field.annotation)]


def _meanings(part: Callable[..., Any]) -> dict[str, str]:
    """The meaning of each argument, from the `Args:` of a docstring."""
    section = (inspect.getdoc(part) or "").partition("Args:\n")[2].partition("\n\n")[0]
    joined = re.sub(r"\n {8,}", " ", section)
    arguments = re.findall(r"^ {4}(\w+): (.+)$", joined, re.MULTILINE)
    return {name: text.rstrip(".") for name, text in arguments}
