"""Names that are not label names: states in lists, and fragments of objects that a program wrote as text."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from labelwise.data.readers.cells import WORDS, is_blank, number
from labelwise.data.readers.name_doubts import UNANSWERED
from labelwise.data.source import as_option
from labelwise.errors import LabelwiseError

_STATES = frozenset(word for pair in WORDS for word in pair)
_QUOTED = re.compile(r"""(['"])(.*)\1""", re.DOTALL)
_OBJECT = re.compile(r"<\w.*>", re.DOTALL)
_MOST_WORDS = 5  # in a label's name
_PAIRS = {")": "(", "]": "[", "}": "{"}


def refuse_states(
    names: Collection[str], rows: Iterable[Sequence[str]], where: str, declared: bool = False
) -> None:
    """Raises `LabelwiseError` for lists of a state for each label, such as 1, -1 and 0, rather than of label names.

    Args:
        names: distinct entries of all lists.
        rows: the lists, read only if all names are states or numbers. `is_multi_hot` takes lists of 0 and 1 of one
            length before.
        where: the column, for the message.
        declared: whether the file lists the names. Then only a name twice in one list, which states alone repeat, is
            refused.
    """
    if not names or not all(number(n) is not None or is_blank(n) or n.casefold() in _STATES for n in names):
        return
    filled = [row for row in rows if len(row)]
    lengths = {len(row) for row in filled}
    no_label = any(number(n) is None or (number(n) or 0) < 0 for n in names)
    repeats = len(lengths) == 1 and any(len(set(row)) < len(row) for row in filled)
    if lengths - {1} and ((no_label and not declared) or repeats):
        raise LabelwiseError(
            f"{where} with lists such as [{', '.join(max(filled, key=len)[:6])}]: a state for each label",
            "names of the labels that are present, or lists of 0 and 1",
            "write the names, or one column per label",
        )


def refuse_open_states(names: Collection[str], where: str) -> None:
    """Raises `LabelwiseError` for names that are states and a text for unknown, such as yes, no and unclear.

    Args:
        names: distinct names.
        where: the column, for the message.
    """
    unclear = sorted(n for n in names if n.casefold() in UNANSWERED)
    states = {n.casefold() for n in names} - {n.casefold() for n in unclear}
    if unclear and len(states) > 1 and (states <= _STATES or states <= {"0", "1"}):
        raise LabelwiseError(
            f"{where} with {', '.join(sorted(names)[:6])}: states of one label rather than names",
            "names of labels, or 1, 0 and blank",
            f"add ?unknown={as_option(unclear)}",
        )


def unquoted(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """The names without quotes if all of them are in quotes.

    >>> unquoted([["'dog'", "'cat'"], ["'dog'"]]), unquoted([["'dog'", "cat"]])
    ([['dog', 'cat'], ['dog']], [["'dog'", 'cat']])
    """
    matches = {name: _QUOTED.fullmatch(name) for row in rows for name in row}
    if not matches or not all(matches.values()):
        return [list(row) for row in rows]
    inner = {name: match[2].strip() for name, match in matches.items() if match}
    return [[inner[name] for name in row if inner[name]] for row in rows]


def refuse_pieces(names: Iterable[str], where: str) -> None:
    """Raises `LabelwiseError` for fragments of lists or objects, such as `tensor([0`, `'dog'` and `<Tags: dog>`.

    >>> refuse_pieces(["cat (big)", 'monitor 27"', "men's"], "column 'labels'")
    """
    for name in names:
        if _QUOTED.fullmatch(name) or _OBJECT.fullmatch(name) or not _balanced(name):
            raise LabelwiseError(
                f"{where} with {name[:60]!r}, a piece of a list or an object that a program wrote as text",
                'names with a mark between them, or lists such as ["cat", "dog"]',
                "write the cells again",
            )


def is_sentence(text: str) -> bool:
    """Whether a text is a sentence rather than a name: it has many words, or ends with a full stop or similar.

    >>> is_sentence("on a sunny day."), is_sentence("St. Bernard"), is_sentence("?!")
    (True, False, False)
    """
    return len(text.split()) > _MOST_WORDS or (text.endswith((".", "!", "?")) and any(map(str.isalnum, text)))


def _balanced(name: str) -> bool:
    """Whether brackets are balanced."""
    brackets: list[str] = []
    for letter in name:
        if letter in "([{":
            brackets.append(letter)
        elif letter in _PAIRS and (not brackets or brackets.pop() != _PAIRS[letter]):
            return False
    return not brackets
