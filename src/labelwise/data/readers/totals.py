"""The last row of a spreadsheet that holds sums of the rows above it instead of an image."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from labelwise.data.readers.cells import is_blank, number, text_of
from labelwise.data.readers.roles import IMAGE, key, share_of_images
from labelwise.data.readers.states import Column
from labelwise.data.source import Source
from labelwise.errors import LabelwiseError

_WORDS = (
    "total,totals,grand total,sum,sums,summe,gesamt,gesamtsumme,insgesamt,summe gesamt,somme,total general,"
    "total général,suma,soma,totale,totaal,summa,yhteensä,итого,всего,合计,总计,合計,総計,합계,총계,toplam"
)
WORDS = frozenset(_WORDS.split(","))
"""Names of a row of sums in spreadsheets of several languages."""


def without_total(table: pa.Table, source: Source, notes: list[str]) -> pa.Table:
    """The table without a last row that holds sums of the columns and no image, with a note.

    Args:
        table: its columns, with their names.
        source: for messages.
        notes: receives the note.

    Raises:
        LabelwiseError: a last row that is called a total and has counts other than the sums.
    """
    last = table.num_rows - 1
    if last < 1:
        return table
    cells = [column[last].as_py() for column in table.columns]
    if any(isinstance(cell, bytes | list | dict) for cell in cells):
        return table
    filled = {index: cell for index, cell in enumerate(cells) if not is_blank(cell)}
    counts = {index: value for index, cell in filled.items() if (value := number(cell)) is not None}
    texts = [text_of(cell) for index, cell in filled.items() if index not in counts]
    is_total = len(texts) == 1 and texts[0].casefold().rstrip(" :") in WORDS
    if not counts or not (is_total or (not texts and _lacks_image(table, filled))):
        return table
    row_text = f"The last row ({', '.join(text_of(cell) for cell in filled.values())[:60]})"
    has_counts = any(value not in (0, 1) for value in counts.values())
    are_sums = all(abs(_sum(table.column(index), last) - value) < 1e-6 for index, value in counts.items())
    if are_sums and (is_total or has_counts):
        notes.append(f"{row_text} holds the sums of the columns and no image: it was left out.")
        return table.slice(0, last)
    if is_total and has_counts:
        raise LabelwiseError(
            f"{source.path}: {row_text[0].lower()}{row_text[1:]}, which by its name and counts is a total",
            "an image in every row",
            "remove the row from the table",
        )
    return table


def _lacks_image(table: pa.Table, filled: Mapping[int, object]) -> bool:
    """Whether a column that names the images is blank in the last row."""
    blank = ((i, name) for i, name in enumerate(table.column_names) if i not in filled)
    return any(key(name) in IMAGE or share_of_images(table.column(i)) > 0.5 for i, name in blank)


def _sum(column: pa.ChunkedArray, rows: int) -> float:
    """The sum of the numbers of the first rows, with blanks as 0; NaN if another cell is among them."""
    coded = Column.of("", column.slice(0, rows))
    values = [0.0 if is_blank(cell) else number(cell) for cell in coded.cells]
    return float(np.dot(np.array(values, float), np.asarray(coded.counts, float)))  # None becomes NaN
