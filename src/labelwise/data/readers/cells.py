"""One cell of a label column: present, absent, a share between, unknown, or no label state at all."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from labelwise.data.source import Source
from labelwise.errors import LabelwiseError

BLANKS = frozenset({"", "nan", "null", "none", "na", "n/a", "<na>", "nil"})
_WORDS = (
    "false true, no yes, absent present, negative positive, neg pos, off on, unchecked checked, "
    "falsch wahr, nein ja, faux vrai, non oui, falso verdadero, falso vero, falso verdadeiro, no sí, no si, não sim, "
    "onwaar waar, nee ja, nej ja, fałsz prawda, nie tak, ложь истина, нет да, いいえ はい, 否 是"
)
WORDS = tuple((pair.split()[0], pair.split()[1]) for pair in _WORDS.split(", "))
"""Words for absent and present, also in the languages in which spreadsheets and forms write them."""
_VALUE_OF_WORD = {word: float(value) for pair in reversed(WORDS) for value, word in enumerate(pair)}
LETTERS = (("n", "y"), ("f", "t"))
"""Letters are states only if both of a pair occur in a column: a column of F and M, or of N alone, has no states."""

_NUMBER = re.compile(r"[+-]?(?:(?:0|[1-9]\d*)(?:[.,]\d*)?|[.,]\d+)(?:[eE][+-]?\d{1,3})?")
_PERCENT = re.compile(r"(\d+(?:\.\d*)?) ?%")
NO_STATE = np.inf
"""Value of a cell that is not a label state."""


def number(cell: Any) -> float | None:
    """The number in a cell, with a decimal point or comma, or as a percentage; `None` for other cells.

    A code such as `007`, and a number too large for a float, is not a number.

    >>> [number(cell) for cell in ("1", "-1.0", " 0,5 ", "007", "1e999", True, "50%")]
    [1.0, -1.0, 0.5, None, None, 1.0, 0.5]
    """
    if not isinstance(cell, bool | int | float):
        cell = str(cell).strip().replace(",", ".")
        if percent := _PERCENT.fullmatch(cell):
            return float(percent[1]) / 100
        if not _NUMBER.fullmatch(cell):
            return None
    try:
        value = float(cell)
    except OverflowError:
        return None
    return None if math.isinf(value) else value


def text_of(cell: Any) -> str:
    """A cell as text without outer blanks; empty for null."""
    return "" if cell is None else str(cell).strip()


def is_blank(cell: Any) -> bool:
    """Whether a cell is blank: null, NaN, or a text for these."""
    return cell is None or (isinstance(cell, float) and math.isnan(cell)) or text_of(cell).lower() in BLANKS


def same(cell: Any, entry: str) -> bool:
    """Whether an option's entry matches a cell: numbers compare as numbers, texts without case.

    >>> same("-1.0", "-1"), same("Unclear", "unclear"), same(0.5, "0,5")
    (True, True, True)
    """
    value, wanted = number(cell), number(entry)
    if value is not None and wanted is not None:
        return value == wanted
    return text_of(cell).casefold() == entry.strip().casefold()


@dataclass(frozen=True)
class Meaning:
    """Meanings of cells by the options of a source.

    Args:
        absent, present, unknown: entries as given.
        blank: 0 if blank cells mean absent, else NaN.
        used: options and entries that matched a cell.
    """

    absent: Sequence[str] = ()
    present: Sequence[str] = ()
    unknown: Sequence[str] = ()
    blank: float = math.nan
    used: set[str] = field(default_factory=set, compare=False)

    @classmethod
    def of(cls, source: Source) -> Meaning:
        """The meanings in a source's options `absent`, `present`, `unknown` and `blank`.

        Raises:
            LabelwiseError: an entry with two meanings.
        """
        entries = {option: source.names(option) for option in ("absent", "present", "unknown")}
        flat = [(option, entry) for option, values in entries.items() for entry in values]
        for index, (option, entry) in enumerate(flat):
            for other, earlier in flat[:index]:
                if other != option and same(entry, earlier):
                    raise LabelwiseError(
                        f"{entry} under {other}= and {option}= of {str(source)!r}",
                        "one meaning per text",
                        "choose one",
                    )
        blank = 0.0 if source.choice("blank", ("unknown", "negative")) == "negative" else math.nan
        return cls(entries["absent"], entries["present"], entries["unknown"], blank)

    def __bool__(self) -> bool:
        return bool(self.absent or self.present or self.unknown or not math.isnan(self.blank))

    def value(self, cell: Any) -> float | None:
        """Value of a cell by the options; `None` if no option covers it."""
        for option, value in (("unknown", math.nan), ("absent", 0.0), ("present", 1.0)):
            entries = [entry for entry in getattr(self, option) if same(cell, entry)]
            if entries:
                self.used.update(f"{option}={entry}" for entry in entries)
                return value
        if is_blank(cell):
            self.used.add("blank")
            return self.blank
        return None

    def without_effect(self) -> list[str]:
        """Options and entries that matched no cell, as given."""
        entries = [f"{o}={e}" for o in ("absent", "present", "unknown") for e in getattr(self, o)]
        blank = [] if math.isnan(self.blank) or "blank" in self.used else ["blank=negative"]
        return [entry for entry in entries if entry not in self.used] + blank


@dataclass(frozen=True)
class Reading:
    """How a table spells label states.

    Args:
        meaning: the options.
        minus: value of -1: 0, NaN, or `NO_STATE`.
        letters: the pairs of letters that are states in the column.
    """

    meaning: Meaning
    minus: float = NO_STATE
    letters: Sequence[tuple[str, str]] = ()

    def values(self, cells: Sequence[Any]) -> list[float]:
        """A number in [0, 1], NaN for unknown, or `NO_STATE` for each cell of one column.

        If an option declares a number in the column as absent or present, the usual 0 and 1 lose their meaning.
        """
        given = [
            any(same(cell, entry) for cell in cells for entry in entries if number(entry) is not None)
            for entries in (self.meaning.absent, self.meaning.present)
        ]
        return [self._value(cell, given) for cell in cells]

    def _value(self, cell: Any, given: Sequence[bool]) -> float:
        """The value of one cell; `given` says whether 0, and 1, has another meaning in the column."""
        stated = self.meaning.value(cell)
        if stated is not None:
            return stated
        value = number(cell)
        if value is None:
            return self._value_of_word(text_of(cell).casefold())
        if value == -1:
            return self.minus
        if not 0 <= value <= 1 or (any(given) and 0 < value < 1) or (value in (0, 1) and given[int(value)]):
            return NO_STATE
        return value

    def _value_of_word(self, text: str) -> float:
        """The value of a word or letter for a state; `NO_STATE` for any other text."""
        if text in _VALUE_OF_WORD:
            return _VALUE_OF_WORD[text]
        pair = next((pair for pair in self.letters if text in pair), None)
        return NO_STATE if pair is None else float(text == pair[1])


def letters_of(cells: Iterable[Any]) -> list[tuple[str, str]]:
    """Pairs of letters that are states in a column: both letters occur, or one letter and words for states.

    >>> letters_of(["Y", "N"]), letters_of(["N"]), letters_of(["yes", "N"])
    ([('n', 'y')], [], [('n', 'y')])
    """
    texts = {text_of(cell).casefold() for cell in cells}
    words = any(texts & set(pair) for pair in WORDS)
    return [pair for pair in LETTERS if texts.issuperset(pair) or (words and texts & set(pair))]


def format_cells(cells: Iterable[Any]) -> str:
    """A few cells as text for messages."""
    texts = [text if len(text) <= 24 else text[:21] + "..." for text in (text_of(cell) for cell in cells)]
    return ", ".join(repr(text) for text in texts[:3]) + (", ..." if len(texts) > 3 else "")


def state(cell: Any) -> float:
    """Value of one cell by itself: a number in [0, 1], or NaN for unknown.

    Raises:
        ValueError: for anything else.

    >>> state("1"), state(True), state("0,25"), state(None)
    (1.0, 1.0, 0.25, nan)
    """
    value = Reading(Meaning()).values([cell])[0]
    if value == NO_STATE:
        raise ValueError(str(cell))
    return value
