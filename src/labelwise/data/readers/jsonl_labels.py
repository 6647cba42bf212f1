"""Labels in JSON values: names in a list or a text, or an object of label states."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from labelwise.data.readers.cells import NO_STATE, Meaning, Reading
from labelwise.data.readers.names import NameRows, indicator, named_texts, nothing_word
from labelwise.data.readers.states import hardened
from labelwise.data.source import Source
from labelwise.errors import LabelwiseError

Labels = tuple[tuple[str, ...], np.ndarray, np.ndarray]
"""Names, values `[N, L]` and known `[N, L]`."""


def named(values: Sequence[Any], key: str, places: Sequence[str], source: Source, notes: list[str]) -> Labels:
    """Labels of lists of names, or of texts that hold one name or several.

    A label that is not named is absent; `null` says that all are unknown. An empty list or text says that all are
    absent, or, with `blank=unknown`, unknown; so does a name that the option `unknown` lists. A word for "no label is
    present" is no label, as in a table.

    Args:
        values: `[N]` JSON values of the key.
        key: for messages.
        places: `[N]`; where each line stands, for messages.
        source: its options `separator`, `unknown`, `blank` and `none`.
        notes: takes a sentence for each decision.

    Raises:
        LabelwiseError: for another value, by its line, no label at all, or an option without effect.
    """
    listed = [_names(value, key, place) for value, place in zip(values, places, strict=True)]
    _refuse_vectors(values, key, places)
    texts = [row for row, value in enumerate(values) if isinstance(value, str)]
    forms = ["in lists"] if any(not isinstance(value, str | None) for value in values) else []
    if texts:
        cells = [values[row].strip() for row in texts]
        parted, how = named_texts(cells, key, source, lambda place: places[texts[place]])
        forms.append("one in each text" if how.startswith("one in each cell") else how)
        for row, names in zip(texts, parted, strict=True):
            listed[row] = names
    elif "separator" in source.options:
        raise LabelwiseError(
            "separator in the SOURCE, and names in lists", "names in a text", "remove the option"
        )
    null = np.array([names is None for names in listed])
    blank = np.array([names == [] for names in listed])
    unclear = _unclear(listed, key, source)
    known = ~(null | unclear)
    labels, present = indicator(
        [names if names and answered else [] for names, answered in zip(listed, known.tolist(), strict=True)]
    )
    notes.append(f"Labels are names in {key!r}, {', or '.join(forms)}; a label that is absent is negative.")
    lines_of, columns = np.nonzero(present)
    rows = nothing_word(NameRows(labels, lines_of, columns, known, ""), source, notes)
    if not rows.names:
        raise LabelwiseError(f"key {key!r} without any label", "label names in it", "check the key")
    fate = source.choice("blank", ("negative", "unknown"))
    if fate == "unknown":
        known &= ~blank
    for lines, meaning in (
        (null, "null, or without the key, are all-unknown"),
        (unclear, "with a name of unknown= are all-unknown"),
        (blank, f"without a name are all-{fate}"),
    ):
        if lines.any():
            notes.append(f"{int(lines.sum()):,} lines {meaning}.")
    return rows.names, rows.matrix(), np.repeat(known[:, None], len(rows.names), 1)


def _names(value: Any, key: str, place: str) -> list[str] | None:
    """Names of a list; `None` for null; a text is left to be parted."""
    if value is None or isinstance(value, str):
        return None if value is None else []
    names = value if isinstance(value, list) else [value]
    if any(
        isinstance(name, bool) or not isinstance(name, str | int) or not str(name).strip() for name in names
    ):
        raise LabelwiseError(
            f"{place}: {key!r} is {value!r}"[:200],
            "a list of label names, one name, or null",
            "correct the line",
        )
    return [str(name).strip() for name in names]


def _refuse_vectors(values: Sequence[Any], key: str, places: Sequence[str]) -> None:
    """Lists of 0 and 1 of one length say which of some labels are present, but not how these are called."""
    lists = [row for row, value in enumerate(values) if isinstance(value, list)]
    cells = {cell for row in lists for cell in values[row]}
    if not cells or not cells <= {0, 1} or len({len(values[row]) for row in lists}) > 1:
        return
    row = next((row for row in lists if len(set(values[row])) < len(values[row])), None)
    if row is not None:
        raise LabelwiseError(
            f"{places[row]}: {key!r} is {values[row]!r}, a vector of 0 and 1"[:200],
            'names of labels, or an object such as {"dog": 1, "cat": 0}',
            "write the names",
        )


def _unclear(listed: Sequence[list[str] | None], key: str, source: Source) -> np.ndarray:
    """`[N]`; which lines hold a name that the option `unknown` lists."""
    words = set(source.names("unknown"))
    unclear = np.array([names is not None and not words.isdisjoint(names) for names in listed])
    if words and not unclear.any():
        raise _idle_unknown(source, key)
    return unclear


def _idle_unknown(source: Source, key: str) -> LabelwiseError:
    given = f"unknown={source.options['unknown']}"
    return LabelwiseError(given, f"texts that occur in {key!r}", "correct or remove the option")


def stated(
    values: Sequence[Any], key: str, places: Sequence[str], source: Source, notes: list[str]
) -> Labels:
    """Labels of objects of states: 1, 0, true, false, a share between, or null; a label that one lacks is unknown.

    Args:
        values, key, places, notes: as `named`.
        source: its option `unknown`.

    Raises:
        LabelwiseError: for another value, by its line, no label at all, or an option without effect.
    """
    names = _label_names(values, key, places)
    columns = {name: j for j, name in enumerate(names)}
    meaning = Meaning(unknown=source.names("unknown"))
    states: dict[Any, float] = {}  # each distinct cell is worked out once
    table = np.full((len(values), len(names)), np.nan, np.float32)
    for row, (value, place) in enumerate(zip(values, places, strict=True)):
        for name, cell in (value or {}).items():
            if isinstance(cell, list | dict):
                raise _no_state(place, name, cell)
            if cell not in states:
                states[cell] = _state(cell, meaning)
            if states[cell] == NO_STATE:
                raise _no_state(place, name, cell)
            table[row, columns[name.strip()]] = states[cell]
    if meaning.without_effect():
        raise _idle_unknown(source, key)
    known = ~np.isnan(table)
    notes.append(f"Labels are the keys of {key!r}; null, and a label that a line lacks, are unknown.")
    return tuple(names), hardened(np.where(known, table, np.float32(0))), known


def _state(cell: Any, meaning: Meaning) -> float:
    """A number in [0, 1], NaN for unknown, or `NO_STATE`."""
    try:
        return Reading(meaning).values([cell])[0]
    except OverflowError:  # a whole number that no float holds
        return NO_STATE


def _no_state(place: str, name: str, cell: Any) -> LabelwiseError:
    return LabelwiseError(
        f"{place}, label {name!r}: {cell!r}"[:200],
        "1, 0, true, false, a share between, or null",
        "correct the line",
    )


def _label_names(values: Sequence[Any], key: str, places: Sequence[str]) -> list[str]:
    """Names of the labels of all objects, as they come."""
    names: dict[str, None] = {}
    for value, place in zip(values, places, strict=True):
        if value is not None and not isinstance(value, dict):
            shown = f"{place}: {key!r} is {value!r}"[:200]
            raise LabelwiseError(shown, "an object of labels, as in other lines", "correct the line")
        stripped = [name.strip() for name in value or ()]
        if len(set(stripped)) < len(stripped):
            raise LabelwiseError(
                f"{place}: {key!r} with a label twice", "distinct labels", "correct the line"
            )
        names.update(dict.fromkeys(stripped))
    if not names:
        raise LabelwiseError(
            f"key {key!r} without any label", "labels and their states in it", "check the key"
        )
    return list(names)


def plain_column(values: Sequence[Any]) -> pa.Array:
    """JSON values as a column `[N]` of a table: int64 or float64 where all are numbers, else text."""
    cells = [int(value) if isinstance(value, bool) else value for value in values]
    kinds = {type(value) for value in cells} - {type(None)}
    if kinds <= {int} and all(value is None or abs(value) < 1 << 62 for value in cells):
        return pa.array(cells, pa.int64())
    if kinds <= {int, float} and all(value is None or math.isfinite(value) for value in cells):
        return pa.array([None if value is None else float(value) for value in cells], pa.float64())
    return pa.array([None if value is None else str(value) for value in cells], pa.string())
