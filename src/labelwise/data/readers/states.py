"""Columns of label states as one matrix; all cells of the table decide how states are written."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from labelwise.data.readers.arrow import one_array
from labelwise.data.readers.cells import (
    LETTERS,
    NO_STATE,
    WORDS,
    Meaning,
    Reading,
    is_blank,
    letters_of,
    number,
    text_of,
)
from labelwise.data.readers.metadata_names import is_metadata
from labelwise.data.readers.name_doubts import few
from labelwise.data.readers.state_advice import no_states
from labelwise.data.source import Source, as_option
from labelwise.data.table import hard_cells
from labelwise.errors import LabelwiseError


@dataclass(frozen=True)
class Column:
    """A column by its distinct cells.

    Args:
        name: of the column.
        cells: the distinct cells; null is the last one.
        codes: `[N]` index of each row's cell.
        counts: number of rows with each cell.
    """

    name: str
    cells: Sequence[Any]
    codes: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, name: str, column: pa.ChunkedArray) -> Column:
        """A column of a table; one of lists or structs counts as a single cell that is no state."""
        try:
            coded = one_array(column).dictionary_encode()
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
            first = next((cell for cell in (c.as_py() for c in column) if cell is not None), None)
            return cls(name, [first, None], np.zeros(len(column), np.int64), np.array([len(column), 0]))
        cells = [*coded.dictionary.to_pylist(), None]
        codes = coded.indices.fill_null(len(cells) - 1).to_numpy(zero_copy_only=False)
        return cls(name, cells, codes, np.bincount(codes, minlength=len(cells)))

    def values(self, reading: Reading) -> np.ndarray:
        """`[cells]` float32 value of each distinct cell; NaN for one that does not occur."""
        occurring = np.flatnonzero(self.counts)
        values = np.full(len(self.cells), np.nan, np.float32)
        values[occurring] = reading.values([self.cells[i] for i in occurring.tolist()])
        return values

    def present(self) -> list[Any]:
        """Distinct cells that occur and are not blank."""
        return [self.cells[index] for index in np.flatnonzero(self.filled).tolist()]

    @cached_property
    def filled(self) -> np.ndarray:
        """`[cells]` bool: which of the distinct cells occur and are not blank."""
        return (self.counts > 0) & ~np.array([is_blank(cell) for cell in self.cells], bool)

    @cached_property
    def keys(self) -> list[str]:
        """Normalised text of each distinct cell: numbers in one format, texts in lower case."""
        numbers = map(number, self.cells)
        return [
            text_of(cell).casefold() if value is None else f"{value:g}"
            for cell, value in zip(self.cells, numbers, strict=True)
        ]


def is_states(column: pa.ChunkedArray, meaning: Meaning | None = None) -> bool:
    """Whether every cell of a column is a label state in a usual spelling, or blank, and not all are blank.

    Args:
        column: its cells.
        meaning: further spellings, from the options of a source.
    """
    cells = Column.of("", column).present()
    reading = Reading(meaning or Meaning(), minus=0.0, letters=letters_of(cells))
    return bool(cells) and NO_STATE not in reading.values(cells)


def state_matrix(
    table: pa.Table, names: Sequence[str], source: Source, row_name: Callable[[int], str], notes: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Values and known cells of label columns.

    Args:
        table: with plain columns.
        names: of the label columns.
        source: its options `absent`, `present`, `unknown` and `blank` set the meaning of cells.
        row_name: returns the name of a row for messages.
        notes: receives a sentence for each decision.

    Returns:
        `[N, L]` uint8 if all are 0 or 1, else float32 in [0, 1], 0 where not known; and `[N, L]` bool.

    Raises:
        LabelwiseError: cells that are not label states, with the options that help; options without effect.
    """
    meaning = Meaning.of(source)
    cells = None if meaning else hard_cells(table.select(list(names)))
    if cells is None:
        columns = [Column.of(name, table[name]) for name in names]
        values = _values(columns, meaning, source, row_name, notes)
        known = ~np.isnan(values)
        cells = hardened(np.where(known, values, np.float32(0))), known
    notes += _doubts(names, *cells)
    return cells


def hardened(values: np.ndarray) -> np.ndarray:
    """The values as uint8 when all are 0 or 1, else as float32."""
    return values.astype(np.uint8) if ((values == 0) | (values == 1)).all() else values.astype(np.float32)


def _values(
    columns: Sequence[Column],
    meaning: Meaning,
    source: Source,
    row_name: Callable[[int], str],
    notes: list[str],
) -> np.ndarray:
    """Values `[N, L]`, NaN where unknown; raises `LabelwiseError` for cells that are no states."""
    minus = _minus(columns, meaning)
    distinct = {text_of(cell): cell for column in columns for cell in column.present()}
    reading = Reading(meaning, minus)
    by_cell = [column.values(replace(reading, letters=letters_of(column.present()))) for column in columns]
    wrong = {
        column.name: np.flatnonzero((column.counts > 0) & (value == NO_STATE))
        for column, value in zip(columns, by_cell, strict=True)
    }
    if any(map(len, wrong.values())):
        raise no_states(columns, wrong, meaning, source, row_name)
    unused = meaning.without_effect()
    if unused:
        raise LabelwiseError(
            f"{unused[0]} in {str(source)!r}, which is the text of no label cell",
            f"texts that occur, such as {', '.join(map(repr, list(distinct)[:6]))}",
            "correct the option or leave it out (a decimal comma is written as a point: unknown=0.5)",
        )
    notes += _spelling(distinct.values(), reading)
    return np.stack([value[column.codes] for value, column in zip(by_cell, columns, strict=True)], 1)


def _minus(columns: Sequence[Column], meaning: Meaning) -> float:
    """The value of -1: absent beside 1 alone, unknown in columns that hold 0 too, `NO_STATE` if that is unclear."""
    plain: list[set[float]] = []
    for column in columns:
        values: set[float] = set()
        for cell in column.present():
            if meaning.value(cell) is None:
                value = number(cell)
                if value is None or not (value == -1 or 0 <= value <= 1):
                    break
                values.add(value)
        else:
            plain.append(values)
    with_minus = [values for values in plain if -1 in values]
    if not any(0 in values for values in plain):
        return 0.0
    if any(0 in values for values in with_minus):
        return math.nan
    return NO_STATE


def _spelling(cells: Any, reading: Reading) -> list[str]:
    """Notes on every spelling other than 1, 0 and blank."""
    notes = []
    plain = [cell for cell in cells if reading.meaning.value(cell) is None]
    numbers = [value for value in map(number, plain) if value is not None]
    if -1 in numbers and reading.minus == 0:
        notes.append("-1 is read as absent, as no label cell holds 0; if it means unknown, add ?unknown=-1.")
    elif -1 in numbers:
        notes.append(
            "-1 is read as unknown and 0 as absent; if they mean the reverse, add ?absent=-1&unknown=0."
        )
    texts = {text_of(cell).casefold() for cell in plain if number(cell) is None}
    for absent, present in sorted((*WORDS, *LETTERS), key=lambda pair: -len(texts & set(pair))):
        if texts & {absent, present}:
            notes.append(f"{present!r} is read as present and {absent!r} as absent.")
            texts -= {absent, present}
    percent = next((text_of(cell) for cell in plain if text_of(cell).endswith("%") and number(cell)), None)
    if percent is not None:
        notes.append(f"Percentages are read as shares: {percent} is {number(percent):g}.")
    if any("," in text_of(cell) and number(cell) is not None for cell in plain):
        notes.append("Numbers are written with a decimal comma.")
    return notes


def _doubts(names: Sequence[str], values: np.ndarray, known: np.ndarray) -> list[str]:
    """Warnings on columns that may have another meaning."""
    notes = []
    doubtful = [name for name in names if is_metadata(name)]
    if doubtful:
        notes.append(
            f"Read as labels by their cells: {few(doubtful, 8)}; if they are none, add ?ignore={as_option(doubtful)}."
        )
    shares = np.zeros(len(names), bool)
    if values.dtype != np.uint8:
        shares |= ((values > 0) & (values < 1)).any(0)
    soft = [name for name, share in zip(names, shares, strict=True) if share and name not in doubtful]
    if soft and not shares.all():
        notes.append(
            f"Soft labels, of shares between 0 and 1, beside labels of 0 and 1: {few(soft, 8)}; if they are no labels, "
            f"add ?ignore={as_option([*doubtful, *soft])}."
        )
    blank = [names[j] for j in np.flatnonzero(~known.any(0)).tolist()]
    if blank:
        notes.append(f"Nothing is known of {few(blank, 8)}: all cells are blank or unknown.")
    negative = known.sum(0, dtype=np.int64) - values.sum(0, dtype=np.float64)
    absent, present = negative > 0, values.any(0)
    if not absent.any() and not known.all():
        notes.append(
            "No label has a known negative, as no cell says absent; if a blank cell means absent, add ?blank=negative."
        )
    doubtful = [names[j] for j in np.flatnonzero(present & ~absent & ~known.all(0)).tolist()]
    if doubtful and absent.any():
        reason = (
            "1 and unknown, but never 0 as in other columns; if what was read as unknown means absent there,"
        )
        notes.append(f"{few(doubtful)}: {reason} write 0.")
    return notes
