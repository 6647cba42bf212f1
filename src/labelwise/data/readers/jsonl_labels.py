"""Labels in JSON values: names in a list or a text, or an object of label states."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from labelwise.data.readers.cells import state
from labelwise.data.readers.names import indicator, named_texts
from labelwise.data.readers.states import hardened
from labelwise.data.source import Source
from labelwise.errors import LabelwiseError

Labels = tuple[tuple[str, ...], np.ndarray, np.ndarray]
"""Names, values `[N, L]` and known `[N, L]`."""


def named(values: Sequence[Any], key: str, places: Sequence[str], source: Source, notes: list[str]) -> Labels:
    """Labels of lists of names, or of texts that hold one name or several.

    A label that is not named is absent; `null` says that all are unknown. An empty list or text says that all are
    absent, or, with `blank=unknown`, unknown; so does a name that the option `unknown` lists.

    Raises:
        LabelwiseError: for another value, by its line, no label at all, or an option without effect.
    """
    listed = [_names(value, key, place) for value, place in zip(values, places, strict=True)]
    _refuse_vectors(values, key, places)
    texts = [row for row, value in enumerate(values) if isinstance(value, str)]
    separator = None
    if texts:
        cells = [values[row].strip() for row in texts]
        parted, separator = named_texts(cells, key, source, lambda place: places[texts[place]])
        for row, names in zip(texts, parted, strict=True):
            listed[row] = names
    elif "separator" in source.options:
        raise LabelwiseError(
            "separator in the SOURCE, and names in lists", "names in a text", "remove the option"
        )
    unclear = _unclear(listed, key, source)
    rows = [[] if names is None or doubt else names for names, doubt in zip(listed, unclear, strict=True)]
    labels, present = indicator(rows)
    if not labels:
        raise LabelwiseError(f"key {key!r} without any label", "label names in it", "check the key")
    known = np.ones(present.shape, bool)
    null = np.array([names is None for names in listed])
    known[null | unclear] = False
    blank = np.array([names is not None and not names for names in listed])
    if source.choice("blank", ("negative", "unknown")) == "unknown":
        known[blank] = False
    notes += _notes(key, texts, separator, len(values), null, unclear, blank, known)
    return labels, present, known


def _notes(
    key: str,
    texts: Sequence[int],
    separator: str | None,
    count: int,
    null: np.ndarray,
    unclear: np.ndarray,
    blank: np.ndarray,
    known: np.ndarray,
) -> list[str]:
    how = f"separated by {separator!r}" if separator else "one in each text"
    form = (
        "in lists" if not texts else how if len(texts) + int(null.sum()) >= count else f"in lists, or {how}"
    )
    notes = [f"Labels are names in {key!r}, {form}; a label that is absent is negative."]
    for rows, what in ((null, "null, or without the key,"), (unclear, "with a name of unknown=")):
        if rows.any():
            notes.append(f"{int(rows.sum()):,} lines {what} are all-unknown.")
    if blank.any():
        fate = "all-negative" if known[blank].all() else "all-unknown"
        notes.append(f"{int(blank.sum()):,} lines without a name are {fate}.")
    return notes


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

    Raises:
        LabelwiseError: for another value, by its line, or no label at all.
    """
    unknown = source.names("unknown")
    names = _label_names(values, key, places)
    columns = {name: place for place, name in enumerate(names)}
    table = np.full((len(values), len(names)), np.nan, np.float32)
    states = _States(unknown)
    for row, (value, place) in enumerate(zip(values, places, strict=True)):
        if value:
            table[row, [columns[name.strip()] for name in value]] = states.of(value, place)
    if unknown and not states.met:
        raise _idle_unknown(source, key)
    known = ~np.isnan(table)
    notes.append(f"Labels are the keys of {key!r}; null, and a label that a line lacks, are unknown.")
    return tuple(names), hardened(np.where(known, table, np.float32(0))), known


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


class _States:
    """States of JSON values; each value is worked out once."""

    def __init__(self, unknown: Sequence[str]) -> None:
        self.unknown = unknown
        self.cache: dict[Any, float] = {}
        self.met = False

    def of(self, cells: Mapping[str, Any], place: str) -> list[float]:
        """The states of an object of labels; raises `LabelwiseError` for a value that is none."""
        try:
            return [self.cache[cell] for cell in cells.values()]
        except (KeyError, TypeError):
            return [self._state(cell, f"{place}, label {name!r}") for name, cell in cells.items()]

    def _state(self, cell: Any, place: str) -> float:
        try:
            if isinstance(cell, list | dict):
                raise ValueError
            self.cache[cell] = state(cell, self.unknown)
        except (ValueError, TypeError, OverflowError):
            raise LabelwiseError(
                f"{place}: {cell!r}"[:200], "1, 0, true, false, a share between, or null", "correct the line"
            ) from None
        self.met |= str(cell).strip() in self.unknown
        return self.cache[cell]


def plain_column(values: Sequence[Any]) -> pa.Array:
    """A column of a table of JSON values: numbers, or texts; what is neither is written as text."""
    cells = [int(value) if isinstance(value, bool) else value for value in values]
    kinds = {type(value) for value in cells} - {type(None)}
    if kinds <= {int} and all(value is None or abs(value) < 1 << 62 for value in cells):
        return pa.array(cells, pa.int64())
    if kinds <= {int, float} and all(value is None or math.isfinite(value) for value in cells):
        return pa.array([None if value is None else float(value) for value in cells], pa.float64())
    return pa.array([None if value is None else _text(value) for value in cells], pa.string())


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value)
