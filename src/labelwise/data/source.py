"""The SOURCE text that names a data set: `kind:path?option=value&option=value`, or a bare path."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

from labelwise.errors import LabelwiseError

_KIND = re.compile(r"([A-Za-z][A-Za-z0-9_-]+):(.*)", re.DOTALL)
_OPTIONS = re.compile(r"[A-Za-z_]+=[^&]*(&[A-Za-z_]+=[^&]*)*")
_ESCAPES = re.compile(r"%(?=3F|25)", re.IGNORECASE)


class WouldLose(LabelwiseError):  # noqa: N818 - the name says it
    """A strict reader found rows or cells that it can only drop.

    Args:
        given, expected, todo: as `LabelwiseError`.
        option: the reader option, `(name, value)`, that drops them.
    """

    def __init__(self, given: str, expected: str, todo: str, option: tuple[str, str]) -> None:
        super().__init__(given, expected, todo)
        self.option = option


@dataclass(frozen=True)
class Source:
    """A parsed SOURCE.

    Args:
        kind: the reader's name, in lower case; empty for a bare path.
        path: the text between the kind and the options; `%3F` in it is a question mark, and `%25` a percent sign.
        options: option names and values; a value may use `%3B`-style escapes.
    """

    kind: str
    path: str
    options: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        query = "&".join(f"{name}={escaped(value)}" for name, value in self.options.items())
        path = _ESCAPES.sub("%25", self.path)
        if (
            not query and _path_and_options(path)[1]
        ):  # what follows the question mark would be read as options
            path = path.replace("?", "%3F")
        return (f"{self.kind}:" if self.kind else "") + path + (f"?{query}" if query else "")

    def with_option(self, name: str, value: str) -> Source:
        """The same source with one option set."""
        return Source(self.kind, self.path, {**self.options, name: value})

    def choice(self, name: str, allowed: Sequence[str]) -> str:
        """Value of an option with a closed list of values, the first of which is the default."""
        value = self.options.get(name, allowed[0])
        if value not in allowed:
            raise LabelwiseError(
                f"{name}={value!r} in {str(self)!r}", f"one of {', '.join(allowed)}", "correct the option"
            )
        return value

    def names(self, option: str) -> list[str]:
        """Values of an option with a comma-separated list; a value with a comma is in double quotes."""
        values = next(csv.reader([self.options.get(option, "")], skipinitialspace=True), [])
        return [value.strip() for value in values if value.strip()]

    def names_among(self, option: str, known: Collection[str], what: str) -> list[str]:
        """`names` of which each must be known; otherwise `LabelwiseError` lists `what` is known."""
        names = self.names(option)
        unknown = next((name for name in names if name not in known), None)
        if unknown is not None:
            raise LabelwiseError(
                f"{option}={unknown}", f"{what} {', '.join(list(known)[:12])}", "correct the option"
            )
        return names

    def refuse_unused(self, options: Iterable[str], applies_to: str) -> None:
        """Raises `LabelwiseError` if one of these options is given, which apply to something else."""
        for option in options:
            if option in self.options:
                raise LabelwiseError(
                    f"{option}={self.options[option]} in {str(self)!r}, which changes nothing here",
                    f"{applies_to}, which this option is for",
                    "leave the option out",
                )


def escaped(value: str) -> str:
    """A value in the syntax of an option: `%`, `&` and `?` become `%25`, `%26` and `%3F`.

    >>> escaped("50 % & more?")
    '50 %25 %26 more%3F'
    """
    return value.replace("%", "%25").replace("&", "%26").replace("?", "%3F")


def joined_values(values: Iterable[str]) -> str:
    """Values in the syntax of `Source.names`: separated by commas, in double quotes if they contain a comma or a quote.

    >>> joined_values(["Age", "AP, PA", 'the "old" one'])
    'Age,"AP, PA","the ""old"" one"'
    """
    return ",".join('"' + v.replace('"', '""') + '"' if set(v) & set(',"') else v for v in values)


def as_option(values: Iterable[str]) -> str:
    """Values in the syntax of an option with a list, escaped for a SOURCE.

    >>> as_option(["Age", "AP, PA", "left & right"])
    'Age,"AP, PA",left %26 right'
    """
    return escaped(joined_values(values))


def _path_and_options(text: str) -> tuple[str, str]:
    """The path and the text of the options; empty without options after the last question mark."""
    path, _, query = text.rpartition("?")
    return (path, query) if _OPTIONS.fullmatch(query) and len(query) < len(text) else (text, "")


def parse(text: str) -> Source:
    """Parses a SOURCE; a single letter before the colon is a drive, not a kind.

    Args:
        text: the SOURCE; a `?` in a path before text like options is written `%3F`.

    Returns:
        the parts, with `kind` empty for a bare path.

    Raises:
        LabelwiseError: for an empty text or an option given twice.

    >>> parse("voc:data/VOC2007?difficult=negative")
    Source(kind='voc', path='data/VOC2007', options={'difficult': 'negative'})
    >>> parse("labels.csv").kind, parse("who%3Fa=b.csv").path
    ('', 'who?a=b.csv')
    """
    if not text.strip():
        raise LabelwiseError("an empty SOURCE", "a text such as csv:labels.csv", "name the data set")
    match = _KIND.fullmatch(text)
    kind, location = (match[1].lower(), match[2]) if match else ("", text)
    path, query = _path_and_options(location)
    options: dict[str, str] = {}
    for assignment in query.split("&") if query else ():
        name, _, value = assignment.partition("=")
        if name in options:
            raise LabelwiseError(
                f"option {name!r} twice in {text!r}", "each option once", "remove one of them"
            )
        options[name] = unquote(value)
    path = re.sub("%(3F|25)", lambda match: unquote(match[0]), path, flags=re.IGNORECASE)
    return Source(kind, path, options)
