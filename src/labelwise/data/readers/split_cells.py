"""Split and group columns as codes."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa

from labelwise.data.readers.arrow import one_array
from labelwise.data.readers.cells import is_blank, number, text_of
from labelwise.data.readers.roles import SPLIT_FLAGS, key
from labelwise.data.readers.split_names import SPLITS, numbered_splits, splits_of
from labelwise.data.readers.states import Column
from labelwise.data.source import as_option
from labelwise.errors import LabelwiseError


def split_cells(column: pa.ChunkedArray, name: str, notes: list[str]) -> pa.ChunkedArray:
    """A column of split names, also from split numbers or from a flag column such as `is_valid`."""
    flag = SPLIT_FLAGS.get(key(name))
    coded = Column.of(name, column)
    if flag is None:
        return _named_splits(column, coded, notes)
    yes = {"true", "1", "yes", "y", "t"}
    no = {"false", "0", "no", "n", "f"}
    if not {key for key, count in zip(coded.keys, coded.counts, strict=True) if count} <= yes | no:
        raise LabelwiseError(
            f"split={as_option([name])}, a column of {', '.join(coded.keys[:4])}",
            "true and false",
            "write train, val or test",
        )
    other = "val" if flag == "train" else "train"
    splits = np.array([flag if key in yes else other for key in coded.keys], object)
    return pa.chunked_array([pa.array(splits[coded.codes], pa.string())])


def _named_splits(column: pa.ChunkedArray, coded: Column, notes: list[str]) -> pa.ChunkedArray:
    """A column of split numbers as one of names, with a note; other columns are unchanged."""
    splits = numbered_splits(coded.present())
    if not splits:
        return column
    numbering = ", ".join(f"{value:g} is {split}" for value, split in splits.items())
    last = max(splits.values(), key=SPLITS.index)
    hint = " If the last means test, add val_as=test." if last == "val" else ""
    notes.append(f"The column {coded.name!r} numbers the splits: {numbering}.{hint}")
    values = map(number, coded.cells)
    names = np.array([None if value is None else splits.get(value) for value in values], object)
    return pa.chunked_array([pa.array(names[coded.codes], pa.string())])


def split_codes(column: pa.ChunkedArray, notes: list[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Codes and names of a split column; usual other names become train, val and test, blanks -1.

    Args:
        column: the split of each row.
        notes: receives a sentence for each decision.
    """
    coded = one_array(column).dictionary_encode()
    texts = [*("" if is_blank(cell) else text_of(cell) for cell in coded.dictionary.to_pylist()), ""]
    index = coded.indices.fill_null(len(texts) - 1).to_numpy(zero_copy_only=False)
    split_of = splits_of(set(texts) - {""})
    changed = sorted(text for text, name in split_of.items() if name and text != name)
    if changed:
        notes.append("Splits renamed: " + ", ".join(f"{text} is {split_of[text]}" for text in changed) + ".")
    usual = {name: position for position, name in enumerate(SPLITS)}
    names = tuple(sorted(set(split_of.values()) - {""}, key=lambda name: (usual.get(name, 3), name)))
    if names and not set(names) & set(usual):
        notes.append(
            f"No split is called train, val or test, but {', '.join(names[:6])}: training requires these names; "
            "?split= leaves the column out."
        )
    else:
        others = (name for name in names if name not in usual)
        similar = [name for name in others if re.match("train|val|test|eval|dev", name.casefold())]
        if similar:
            notes.append(f"Splits of their own, which training does not use: {', '.join(similar[:6])}.")
    code = {"": -1, **{text: names.index(name) if name else -1 for text, name in split_of.items()}}
    codes = np.array([code[text] for text in texts], np.int16)[index]
    if (codes < 0).any():
        notes.append(f"{int((codes < 0).sum()):,} rows are in no split.")
    return codes, names


def group_codes(column: pa.ChunkedArray, notes: list[str]) -> np.ndarray:
    """`[N]` int64 codes of a group column; each blank cell is its own group."""
    coded = one_array(column).dictionary_encode()
    cells = [*coded.dictionary.to_pylist(), None]
    codes = coded.indices.fill_null(len(cells) - 1).to_numpy(zero_copy_only=False).astype(np.int64)
    blank = np.array([is_blank(cell) for cell in cells])[codes]
    if blank.any():
        notes.append(f"{int(blank.sum()):,} rows without a group are a group each.")
    codes[blank] = len(cells) + np.arange(int(blank.sum()))
    return np.unique(codes, return_inverse=True)[1].astype(np.int64).reshape(-1)
