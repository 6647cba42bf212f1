"""Labels in JSON values: names in a list or a text, or an object of label states."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from labelwise.data.readers.cells import NO_STATE, Meaning, Reading
from labelwise.data.readers.columns import unknown_rows
from labelwise.data.readers.label_counts import refuse_unshared
from labelwise.data.readers.name_lists import HOT, hot_rows
from labelwise.data.readers.name_pieces import refuse_states
from labelwise.data.readers.name_texts import named_texts
from labelwise.data.readers.names import NameRows, nothing_word
from labelwise.data.readers.states import hardened
from labelwise.data.source import Source
from labelwise.errors import LabelwiseError

Labels = tuple[tuple[str, ...], np.ndarray, np.ndarray]
"""Names, values `[N, L]` and known `[N, L]`."""


def labels_of_names(
    values: Sequence[Any], key: str, places: Sequence[str], source: Source, notes: list[str]
) -> Labels:
    """Labels of lists of names, of lists of 0 and 1 for all labels, or of texts with one or several names.

    A label that is not listed is absent; for `null` all are unknown. For an empty list or text all are absent, or, with
    `blank=unknown`, unknown. In a line with a name of the option `unknown`, labels that are not listed are unknown. A
    name for "no label is present" is not a label, as in a table.

    Args:
        values: `[N]` JSON values of the key.
        key: for messages.
        places: `[N]` line numbers as text, for messages.
        source: its options `separator`, `unknown`, `blank` and `none`.
        notes: receives a sentence for each decision.

    Raises:
        LabelwiseError: another value, with its line, no label at all, or an option without effect.
    """
    listed, how, all_labels = _names(values, key, places, source)
    null = np.array([names is None for names in listed])
    blank = np.array([names == [] for names in listed])
    if all_labels:  # a valid list of 0 and 1 for all labels is not empty
        null, blank = null | (blank & np.array([not value for value in values])), np.zeros(len(values), bool)
    labels = all_labels or tuple(sorted({name for names in listed for name in names or ()}))
    column_of = {name: j for j, name in enumerate(labels)}
    line_numbers = np.repeat(np.arange(len(listed)), [len(names or ()) for names in listed])
    columns = np.array([column_of[name] for names in listed for name in names or ()], np.int64)
    if not all_labels:
        refuse_unshared(np.bincount(columns, minlength=len(labels)), len(listed), key, source)
    notes.append(f"Labels are names in {key!r}, {how}; a label that is absent is negative.")
    rows, unclear, _ = unknown_rows(NameRows(labels, line_numbers, columns, ~null, how), source)
    rows = nothing_word(rows, source, notes)
    if not rows.names:
        raise LabelwiseError(f"key {key!r} without any label", "label names in it", "check the key")
    matrix, known = rows.matrix(), np.repeat(~null[:, None], len(rows.names), 1)
    known[unclear] = matrix[unclear] > 0
    state = source.choice("blank", ("negative", "unknown"))
    if "blank" in source.options and not blank.any():
        raise LabelwiseError(
            f"blank={state} in {str(source)!r}, which has no empty list or text",
            "empty lists or texts",
            "leave the option out",
        )
    known[blank & (state == "unknown")] = False
    for mask, meaning in (
        (null, "null, or without the key, are all-unknown"),
        (unclear, "with a name of unknown= leave labels that they do not list unknown"),
        (blank, f"without a name are all-{state}"),
    ):
        if mask.any():
            notes.append(f"{int(mask.sum()):,} lines {meaning}.")
    return rows.names, matrix, known


def _names(
    values: Sequence[Any], key: str, places: Sequence[str], source: Source
) -> tuple[list[list[str] | None], str, tuple[str, ...]]:
    """Names of each line, `None` for null; their form, for a note; and all labels if lines are lists of 0 and 1."""
    cells = [item if isinstance(item, list) else [item] for item in values]
    if any(isinstance(item, list) for item in values) and not any(isinstance(item, str) for item in values):
        states = [
            [str(cell) for cell in row if cell is not None] if _is_row_of_states(row) else ["?"]
            for row in cells
        ]
        if (hot := hot_rows(states, key)) is not None:
            source.refuse_unused(["separator"], "names in a text")
            rows = [None if item is None else row for item, row in zip(values, hot[0], strict=True)]
            return rows, HOT, hot[1]
    lists = [_names_in_list(item, key, place) for item, place in zip(values, places, strict=True)]
    refuse_states({name for row in lists for name in row or ()}, (row or () for row in lists), f"key {key!r}")
    texts = [row for row, item in enumerate(values) if isinstance(item, str)]
    forms = ["in lists"] if any(not isinstance(item, str | None) for item in values) else []
    if not texts:
        source.refuse_unused(["separator"], "names in a text")
        return lists, forms[0] if forms else "in lists", ()
    stripped = [values[row].strip() for row in texts]
    names_of_texts, how, all_labels = named_texts(stripped, key, source, lambda place: places[texts[place]])
    if all_labels and forms:
        raise LabelwiseError(
            f"key {key!r} with lists of 0 and 1 as text beside {forms[0].removeprefix('in ')}",
            "one form in every line",
            "correct the lines",
        )
    forms.append("one in each text" if how.startswith("one in each cell") else how)
    for row, names in zip(texts, names_of_texts, strict=True):
        lists[row] = names
    return lists, ", or ".join(forms), all_labels


def _is_row_of_states(row: Sequence[Any]) -> bool:
    """Whether a list holds only 0, 1, true, false and null."""
    return all(cell is None or (isinstance(cell, int) and cell in (0, 1)) for cell in row)


def _names_in_list(value: Any, key: str, place: str) -> list[str] | None:
    """Names of a list; `None` for null; empty for a text, which is split later."""
    if value is None or isinstance(value, str):
        return None if value is None else []
    names = value if isinstance(value, list) else [value]
    if any(isinstance(n, bool) or not isinstance(n, str | int) or not str(n).strip() for n in names):
        raise LabelwiseError(
            f"{place}: {key!r} is {value!r}"[:200],
            "a list of label names, one name, or null",
            "correct the line",
        )
    return [str(n).strip() for n in names]


def stated(
    values: Sequence[Any], key: str, places: Sequence[str], source: Source, notes: list[str]
) -> Labels:
    """Labels of objects of states: 1, 0, true, false, a share between, or null; a label that is missing is unknown.

    Args:
        values, key, places, notes: as `labels_of_names`.
        source: its option `unknown`.

    Raises:
        LabelwiseError: another value, with its line, no label at all, or an option without effect.
    """
    names = _label_names(values, key, places)
    columns = {name: j for j, name in enumerate(names)}
    meaning = Meaning(unknown=source.names("unknown"))
    states: dict[Any, float] = {}  # each distinct cell is read once
    table = np.full((len(values), len(names)), np.nan, np.float32)
    for row, (value, place) in enumerate(zip(values, places, strict=True)):
        for name, cell in (value or {}).items():
            if isinstance(cell, list | dict):
                raise _state_error(place, name, cell)
            if cell not in states:
                states[cell] = Reading(meaning).values([cell])[0]
            if states[cell] == NO_STATE:
                raise _state_error(place, name, cell)
            table[row, columns[name.strip()]] = states[cell]
    if meaning.without_effect():
        given = f"unknown={source.options['unknown']}"
        raise LabelwiseError(given, f"texts that occur in {key!r}", "correct or remove the option")
    known = ~np.isnan(table)
    notes.append(f"Labels are the keys of {key!r}; null, and a label that a line lacks, are unknown.")
    return tuple(names), hardened(np.where(known, table, np.float32(0))), known


def _state_error(place: str, name: str, cell: Any) -> LabelwiseError:
    """The error for a cell that is not a label state."""
    return LabelwiseError(
        f"{place}, label {name!r}: {cell!r}"[:200],
        "1, 0, true, false, a share between, or null",
        "correct the line",
    )


def _label_names(values: Sequence[Any], key: str, places: Sequence[str]) -> list[str]:
    """Names of the labels of all objects, in order of occurrence."""
    names: dict[str, None] = {}
    for value, line in zip(values, places, strict=True):
        if value is not None and not isinstance(value, dict):
            given = f"{line}: {key!r} is {value!r}"[:200]
            raise LabelwiseError(given, "an object of labels, as in other lines", "correct the line")
        stripped = [name.strip() for name in value or ()]
        if len(set(stripped)) < len(stripped):
            raise LabelwiseError(f"{line}: {key!r} with a label twice", "distinct labels", "correct the line")
        names.update(dict.fromkeys(stripped))
    if not names:
        raise LabelwiseError(
            f"key {key!r} without any label", "labels and their states in it", "check the key"
        )
    return list(names)


def plain_column(values: Sequence[Any]) -> pa.Array:
    """JSON values as a column `[N]` of a table: int64 or float64 if all are numbers, else text."""
    cells = [int(value) if isinstance(value, bool) else value for value in values]
    types = {type(value) for value in cells} - {type(None)}
    if types <= {int} and all(value is None or abs(value) < 1 << 62 for value in cells):
        return pa.array(cells, pa.int64())
    if types <= {int, float} and all(value is None or _fits_float(value) for value in cells):
        return pa.array([None if value is None else float(value) for value in cells], pa.float64())
    return pa.array([None if value is None else str(value) for value in cells], pa.string())


def _fits_float(value: float) -> bool:
    """Whether a number is a finite float."""
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False
