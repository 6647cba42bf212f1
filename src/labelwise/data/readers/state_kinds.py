"""Kinds of columns with cells that are not label states: texts, counts, marks, or two states in another spelling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwise.data.readers.cells import number, text_of
from labelwise.data.readers.metadata_names import is_metadata
from labelwise.data.readers.name_doubts import UNANSWERED
from labelwise.data.readers.split_names import numbered_splits, of_cell

if TYPE_CHECKING:
    from labelwise.data.readers.states import Column

STRAY = 0.1
"""Largest share of a label column's cells that counts as errors rather than as another kind of column."""
MOST_TEXTS = 30
LOOKED_AT = 1000  # cells that are checked for names
MOST_COUNTS = 12
_DOUBTS = UNANSWERED | {"-", "–", ".", "u"}
"""Texts that mean `unknown` beside two states."""
_CODES = frozenset(["-99", "-9", "-8", "-1", "8", "9", "88", "99"])
"""Numbers that survey forms write for an unanswered question."""
_SPLITS = frozenset({"set", "split", "subset", "partition", "phase", "usage", "stage", "mode"})
_PERSONS = frozenset({"patient", "subject", "person", "photographer"})
Wrong = Mapping[str, np.ndarray]


def sharing_texts(columns: Sequence[Column]) -> list[Column]:
    """Columns of text that share half of their texts with another one: several names of an image, one per column."""
    if len(columns) < 2:
        return []
    texts = [{text_of(cell) for cell in column.present() if number(cell) is None} for column in columns]
    differ = len(set().union(*texts)) > 1

    def shares(mine: set[str], theirs: set[str]) -> bool:
        return bool(mine) and 2 * len(mine & theirs) >= min(len(mine), len(theirs)) > 0

    return [
        column
        for i, column in enumerate(columns)
        if differ
        and (len(texts[i]) > 2 or len(keys_of(column)) > 1)
        and len(texts[i]) == len(column.present())
        and any(shares(texts[i], other) for j, other in enumerate(texts) if j != i)
    ]


def is_split(column: Column) -> bool:
    """Whether a column likely holds splits: a number or name of one in a column so named, or names of several."""
    if int(column.filled.sum()) > MOST_TEXTS:
        return False
    texts = [text_of(cell) for cell in column.present()]
    named = column.name.strip().casefold() in _SPLITS
    splits = {split for split in map(of_cell, texts) if split}
    return len(splits) > 1 or (named and (bool(splits) or bool(numbered_splits(texts))))


def is_person(column: Column) -> bool:
    """Whether a column, by its name, holds the person on the image or its photographer, some on several images."""
    rows = int(column.counts[column.filled].sum())
    name = "".join(letter for letter in column.name.casefold() if letter.isalnum())
    return name.removesuffix("id") in _PERSONS and rows > len(column.present())


def holds_lists(column: Column) -> bool:
    """Whether cells hold several names separated by a mark, some of them in several cells."""
    texts = [text_of(cell) for cell in column.present()[:LOOKED_AT]]
    for mark in ";|,":
        parts = [part.strip() for text in texts for part in text.split(mark)]
        if len(parts) > len(texts) and len(set(parts)) < len(parts) and all(number(t) is None for t in texts):
            return True
    return False


def is_numbered(column: Column) -> bool:
    """Whether cells are three or more consecutive whole numbers from 0 or 1 on, such as class numbers."""
    values = sorted(-1.0 if (value := number(cell)) is None else value for cell in column.present())
    return len(values) > 2 and values[0] in (0, 1) and values == [values[0] + i for i in range(len(values))]


def is_count(column: Column) -> bool:
    """Whether cells are few whole numbers from 0 on."""
    cells = column.present()
    if len(cells) > MOST_COUNTS or is_metadata(column.name):
        return False
    numbers = [number(cell) for cell in cells]
    return 0.0 in numbers and all(n is not None and n >= 0 and n == int(n) for n in numbers)


def minus_unclear(bad: Sequence[Column], wrong: Wrong) -> bool:
    """Whether -1 is the only wrong cell of these columns."""
    return all(number(cell) == -1 for column in bad for cell in wrong_cells(column, wrong))


def pair_of(bad: Sequence[Column], wrong: Wrong, columns: Sequence[Column]) -> list[Column]:
    """Columns that write two states as the same two texts, such as 1 and 2.

    No column may hold other states, and texts other than numbers must be shared by several columns or be in the only
    one: `Sex` alone among columns of 0 and 1 is no label of that table.
    """
    sets: dict[frozenset[str], list[Column]] = {}
    for column in bad:
        texts = two_texts(column, wrong)
        if len(texts) == 2:
            sets.setdefault(texts, []).append(column)
    if not sets:
        return []
    texts, members = max(sets.items(), key=lambda item: len(item[1]))
    numeric = all(number(text) is not None for text in texts)
    clean = [column for column in columns if not len(wrong[column.name]) and column.present()]
    subsets = [c for c in clean if keys_of(c) <= texts]
    if len(clean) > len(subsets) or not (numeric or len(members) > 1 or len(columns) == 1):
        return []
    similar = [c for c in bad if c not in members and _all_but_few(c, texts)]
    return [*members, *similar]


def two_texts(column: Column, wrong: Wrong) -> frozenset[str]:
    """Texts of a column, without those for unknown if two remain and other texts are wrong too."""
    texts = frozenset(keys_of(column))
    wrong_texts = {column.keys[index] for index in wrong[column.name].tolist()}
    if len(texts) > MOST_TEXTS:
        return texts
    for open_texts in (_DOUBTS, _DOUBTS | _CODES, _DOUBTS | _CODES | _rare_numbers(column)):
        remaining = texts - open_texts
        if len(remaining) == 2 < len(texts) <= 4 and not wrong_texts <= open_texts:
            return remaining
    return texts - _DOUBTS if len(texts) > 2 and not wrong_texts <= _DOUBTS else texts


def _rare_numbers(column: Column) -> set[str]:
    """Whole numbers other than 0 and 1 that occur in few rows."""
    rows: dict[str, int] = {}
    for index in np.flatnonzero(column.filled).tolist():
        rows[column.keys[index]] = rows.get(column.keys[index], 0) + int(column.counts[index])
    most = STRAY * sum(rows.values())
    return {
        key for key, count in rows.items() if count <= most and (number(key) or 0.5) % 1 == 0 and key != "1"
    }


def keys_of(column: Column) -> set[str]:
    """Normalised texts of the cells that are not blank, see `Column.keys`."""
    return {column.keys[index] for index in np.flatnonzero(column.filled).tolist()}


def texts_of(column: Column) -> dict[str, str]:
    """For each of `keys_of`, the last text as it is written."""
    return {column.keys[i]: text_of(column.cells[i]) for i in np.flatnonzero(column.filled).tolist()}


def _all_but_few(column: Column, texts: frozenset[str]) -> bool:
    """Whether a column holds one or both of the texts, and otherwise only 0 or numbers for an unanswered question."""
    keys = keys_of(column)
    return bool(keys & texts) and keys - texts <= {"0", *_DOUBTS, *_CODES, *_rare_numbers(column)}


def is_stray(column: Column, wrong: Wrong, stated: bool) -> bool:
    """Whether the wrong cells are few beside usual states, or one text beside both 0 and 1, or beside stated texts."""
    known = column.filled.copy()
    known[wrong[column.name]] = False
    cells = wrong_cells(column, wrong)
    rows, total = int(column.counts[wrong[column.name]].sum()), int(column.counts[column.filled].sum())
    both = stated or {number(column.cells[i]) for i in np.flatnonzero(known).tolist()} >= {0.0, 1.0}
    texts = [number(cell) is None or stated for cell in cells]
    are_few = rows <= max(1, STRAY * total)
    return bool(known.any()) and ((are_few and len(cells) <= 5) or (both and len(cells) == 1 and all(texts)))


def is_categorical(column: Column) -> bool:
    """Whether a column holds few distinct texts, each in several rows."""
    cells = column.present()
    rows = int(column.counts[column.filled].sum())
    are_few = len(cells) <= MOST_TEXTS and len(keys_of(column)) >= 2 and rows >= 2 * len(cells)
    return are_few and all(number(c) is None and isinstance(c, str) and len(c) <= 40 for c in cells)


def is_mark(text: str) -> bool:
    """Whether a text is a single mark, or means a ticked box."""
    return len(text) == 1 or text.casefold() in ("yes", "true", "ja", "oui", "si", "ok", "checked")


def looks_free(name: str) -> bool:
    """Whether a column is one of free text by its name."""
    return name.casefold() in ("note", "notes", "comment", "comments", "remark", "remarks", "description")


def wrong_cells(column: Column, wrong: Wrong) -> list[Any]:
    """The distinct cells of a column that are not states."""
    return [column.cells[index] for index in wrong[column.name].tolist()]
