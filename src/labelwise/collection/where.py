"""Conditions on the labels of an image, such as `person and not car`, as filters of the tables."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from labelwise.errors import LabelwiseError

_TOKEN = re.compile(
    r"""\s*(?:(?P<sign>[()]|[<>]=?|==?|!=)|"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<word>[^\s()<>=!"']+))"""
)
_FORM = 'labels with and, or, not and brackets, such as: person and not (car or "potted plant" > 0.8)'


def filter_of(condition: str, labels: Sequence[str]) -> str:
    """The SQL filter of a condition.

    A label stands for images in which it is selected; `label > 0.8` compares its probability (`<`, `<=`, `>`, `>=`).
    A name with brackets, quotes, comparison signs, or the words and, or, not is written in quotes.

    Args:
        condition: as on the command line.
        labels: names in the order of the column `scores`.

    Raises:
        LabelwiseError: a condition that cannot be read, or an unknown label.

    >>> filter_of("dog and not cat > 0.5", ["cat", "dog"])
    "(array_has_any(labels, ['dog']) AND NOT (scores[1] > 0.5))"
    """
    return _Parser(condition, labels).whole()


def shows(label: str) -> str:
    """The SQL filter for images in which a label is selected.

    >>> shows("it's")
    "array_has_any(labels, ['it''s'])"
    """
    text = label.replace("'", "''")
    return f"array_has_any(labels, ['{text}'])"


class _Parser:
    """Recursive descent: `or` binds least, then `and`, then `not`."""

    def __init__(self, condition: str, labels: Sequence[str]) -> None:
        self._text, self._labels = condition, list(labels)
        self._tokens: list[tuple[str, str]] = []  # kind: word, name (quoted) or sign
        place = 0
        while place < len(condition.rstrip()):
            match = _TOKEN.match(condition, place)
            if match is None:
                raise self._refused(f"what begins with {condition[place:].strip()[:20]!r}")
            for kind, value in match.groupdict().items():
                if value is not None:
                    self._tokens.append((kind if kind in ("sign", "word") else "name", value))
            place = match.end()

    def whole(self) -> str:
        """The filter of the whole condition."""
        result = self._any()
        if self._tokens:
            raise self._refused(repr(self._tokens[0][1]))
        return result

    def _any(self) -> str:
        return self._joined("or", self._all)

    def _all(self) -> str:
        return self._joined("and", self._one)

    def _joined(self, word: str, part: Callable[[], str]) -> str:
        parts = [part()]
        while self._takes("word", word):
            parts.append(part())
        return parts[0] if len(parts) == 1 else f"({f' {word.upper()} '.join(parts)})"

    def _one(self) -> str:
        if self._takes("word", "not"):
            return f"NOT {self._one()}"
        if self._takes("sign", "("):
            inner = self._any()
            if not self._takes("sign", ")"):
                raise self._refused("an open bracket")
            return inner
        return self._label()

    def _label(self) -> str:
        kind, name = self._tokens.pop(0) if self._tokens else ("", "")
        if kind not in ("word", "name") or (kind == "word" and name.lower() in ("and", "or")):
            raise self._refused(repr(name) if name else "no label at its end")
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
                return f"(scores[{self._labels.index(name) + 1}] {sign} {float(bound)!r})"
            except ValueError:
                raise self._refused(f"{bound!r} where a number belongs") from None
        return shows(name)

    def _takes(self, kind: str, value: str) -> bool:
        there = bool(self._tokens) and self._tokens[0][0] == kind and self._tokens[0][1].lower() == value
        if there:
            self._tokens.pop(0)
        return there

    def _refused(self, what: str) -> LabelwiseError:
        return LabelwiseError(f"condition {self._text!r} with {what}", _FORM, "correct it")
