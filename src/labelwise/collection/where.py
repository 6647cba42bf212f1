"""Conditions on the labels of an image, such as `person and not car`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from labelwise.errors import LabelwiseError

_TOKEN = re.compile(
    r"""\s*(?:(?P<sign>[()]|[<>]=?|==?|!=)|"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<word>[^\s()<>=!"']+))"""
)
_EXPECTED = 'labels with and, or, not and brackets, such as: person and not (car or "potted plant" > 0.8)'


@dataclass(frozen=True)
class Has:
    """Images in which a label is selected."""

    label: str


@dataclass(frozen=True)
class Score:
    """Images whose probability of the label in column `place` compares with `bound` by `<`, `<=`, `>` or `>=`."""

    place: int
    sign: str
    bound: float


@dataclass(frozen=True)
class Joined:
    """Several conditions joined by `and` or `or`."""

    word: str
    parts: tuple[Condition, ...]


@dataclass(frozen=True)
class Not:
    """The opposite of a condition."""

    part: Condition


Condition: TypeAlias = Has | Score | Joined | Not


def parse_condition(condition: str, labels: Sequence[str]) -> Condition:
    """Reads a condition.

    A label stands for images in which it is selected; `label > 0.8` compares its probability (`<`, `<=`, `>`, `>=`).
    A name with brackets, quotes, comparison signs, or the words and, or, not is written in quotes.

    Args:
        condition: as on the command line.
        labels: names in the order of the column `scores`.

    Raises:
        LabelwiseError: a condition that cannot be read, or an unknown label.

    >>> parse_condition("not cat > 0.5", ["cat", "dog"])
    Not(part=Score(place=0, sign='>', bound=0.5))
    """
    return _Parser(condition, labels).whole()


def sql(condition: Condition, has: Callable[[str], str]) -> str:
    """The SQL filter of a condition; `has` writes that the column `labels` holds a text, given as a quoted literal.

    >>> sql(parse_condition("dog and not cat > 0.5", ["cat", "dog"]), "array_has(labels, {})".format)
    "(array_has(labels, 'dog') AND NOT (scores[1] > 0.5))"
    """
    if isinstance(condition, Joined):
        return f"({f' {condition.word.upper()} '.join(sql(part, has) for part in condition.parts)})"
    if isinstance(condition, Not):
        return f"NOT {sql(condition.part, has)}"
    if isinstance(condition, Score):
        return f"(scores[{condition.place + 1}] {condition.sign} {condition.bound!r})"
    return has(quoted(condition.label))


def quoted(text: str) -> str:
    """A text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


class _Parser:
    """Recursive descent: `or` binds least, then `and`, then `not`."""

    def __init__(self, condition: str, labels: Sequence[str]) -> None:
        self._text, self._labels = condition, list(labels)
        self._tokens: list[tuple[str, str]] = []  # kind: word, name (quoted) or sign
        position = 0
        while position < len(condition.rstrip()):
            match = _TOKEN.match(condition, position)
            if match is None:
                raise self._error(f"what begins with {condition[position:].strip()[:20]!r}")
            for kind, value in match.groupdict().items():
                if value is not None:
                    self._tokens.append((kind if kind in ("sign", "word") else "name", value))
            position = match.end()

    def whole(self) -> Condition:
        """The whole condition."""
        result = self._parse_or()
        if self._tokens:
            raise self._error(repr(self._tokens[0][1]))
        return result

    def _parse_or(self) -> Condition:
        return self._parse_joined("or", self._parse_and)

    def _parse_and(self) -> Condition:
        return self._parse_joined("and", self._parse_not)

    def _parse_joined(self, word: str, part: Callable[[], Condition]) -> Condition:
        """Conditions joined by a word, each read by `part`."""
        parts = [part()]
        while self._takes("word", word):
            parts.append(part())
        return parts[0] if len(parts) == 1 else Joined(word, tuple(parts))

    def _parse_not(self) -> Condition:
        if self._takes("word", "not"):
            return Not(self._parse_not())
        if self._takes("sign", "("):
            inner = self._parse_or()
            if not self._takes("sign", ")"):
                raise self._error("an open bracket")
            return inner
        return self._parse_label()

    def _parse_label(self) -> Condition:
        """A condition on one label: present, or its probability against a number."""
        kind, name = self._tokens.pop(0) if self._tokens else ("", "")
        if kind not in ("word", "name") or (kind == "word" and name.lower() in ("and", "or")):
            raise self._error(repr(name) if name else "no label at its end")
        while kind == "word" and self._tokens and self._tokens[0][0] == "word":
            if self._tokens[0][1].lower() in ("and", "or", "not"):
                break
            name += f" {self._tokens.pop(0)[1]}"
        if name not in self._labels:
            raise LabelwiseError(
                f"label {name!r} in the condition {self._text!r}",
                f"one of {', '.join(self._labels[:8])}",
                "correct the name",
            )
        if self._tokens and self._tokens[0][0] == "sign" and self._tokens[0][1] in ("<", "<=", ">", ">="):
            sign, bound = self._tokens.pop(0)[1], self._tokens.pop(0)[1] if self._tokens else ""
            try:
                number = float(bound)
            except ValueError:
                number = math.nan
            if not math.isfinite(number):
                raise self._error(f"{bound!r} where a number belongs")
            return Score(self._labels.index(name), sign, number)
        return Has(name)

    def _takes(self, kind: str, value: str) -> bool:
        """Whether the next token is this one, which is then removed."""
        matches = bool(self._tokens) and self._tokens[0][0] == kind and self._tokens[0][1].lower() == value
        if matches:
            self._tokens.pop(0)
        return matches

    def _error(self, reason: str) -> LabelwiseError:
        return LabelwiseError(f"condition {self._text!r} with {reason}", _EXPECTED, "correct it")
