"""A column of label names: names separated by a mark, lists, or lists that a tool wrote as text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelwise.data.readers.arrow import is_list, one_array
from labelwise.data.readers.cells import is_blank, same
from labelwise.data.readers.label_counts import refuse_unshared
from labelwise.data.readers.name_doubts import NOTHING, spaced
from labelwise.data.readers.name_lists import HOT, is_multi_hot, whole_numbers
from labelwise.data.readers.name_pieces import refuse_states
from labelwise.data.readers.name_texts import named_texts
from labelwise.data.readers.roles import fields_of_names
from labelwise.data.source import Source, as_option, escaped
from labelwise.errors import LabelwiseError


@dataclass(frozen=True)
class NameRows:
    """Label names of rows.

    Args:
        names: distinct names, sorted.
        rows, columns: `[K]`; row of each mention, and its index in `names`.
        known: `[N]` bool; `False` for rows without information on labels.
        how: how the names were separated, for a note.
        answers: whether blank cells mean that nobody answered.
    """

    names: tuple[str, ...]
    rows: np.ndarray
    columns: np.ndarray
    known: np.ndarray
    how: str
    answers: bool = False

    def matrix(self) -> np.ndarray:
        """`[N, L]` uint8: 1 where a row has a name."""
        values = np.zeros((len(self.known), len(self.names)), np.uint8)
        values[self.rows, self.columns] = 1
        return values

    @cached_property
    def place(self) -> dict[str, int]:
        """The index of each name."""
        return {name: place for place, name in enumerate(self.names)}

    def without(self, name: str) -> NameRows:
        """The same rows without one of the names."""
        keep = self.columns != self.place[name]
        columns = self.columns[keep] - (self.columns[keep] > self.place[name])
        names = tuple(other for other in self.names if other != name)
        return replace(self, names=names, rows=self.rows[keep], columns=columns)


def named_rows(
    column: pa.ChunkedArray, name: str, source: Source, row_name: Callable[[int], str], declared: bool = False
) -> NameRows:
    """The label names of a column's cells.

    Args:
        column: plain text such as `dog;person`, `["dog", "person"]` or `{"choices": ["dog"]}`; numbers; or lists.
        name: of the column.
        source: its option `separator` is the mark between names; empty for one name per cell.
        row_name: returns the name of a row for messages.
        declared: whether the file lists the names of the column.

    Raises:
        LabelwiseError: lists that cannot be parsed, or blanks that may separate names or belong to them.
    """
    if pa.types.is_struct(column.type) or pa.types.is_map(column.type):
        raise LabelwiseError(
            f"column {name!r} of objects",
            "names of labels, or one column per label",
            f"write one column per label, or JSON lines for jsonl:FILE; ?ignore={as_option([name])} leaves it out",
        )
    if is_list(column.type):
        return _from_lists(column, name, source, declared)
    coded = one_array(column).dictionary_encode()
    cells = [*coded.dictionary.to_pylist(), None]
    codes = coded.indices.fill_null(len(cells) - 1).to_numpy(zero_copy_only=False)
    texts = ["" if is_blank(cell) else str(cell).strip() for cell in cells]
    texts = [
        str(int(c)) if isinstance(c, float) and c.is_integer() else t
        for c, t in zip(cells, texts, strict=True)
    ]
    texts = whole_numbers(texts)
    names_of, how, all_names = named_texts(
        texts, name, source, lambda index: row_name(int(np.flatnonzero(codes == index)[0]))
    )
    names = all_names or tuple(sorted({n for cell in names_of for n in cell}))
    index = {n: j for j, n in enumerate(names)}
    lengths = np.array([len(cell) for cell in names_of], np.int64)
    flat = np.array([index[n] for cell in names_of for n in cell], np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    rows = np.repeat(np.arange(len(codes)), lengths[codes])
    offsets = np.repeat(starts[codes] - np.concatenate([[0], np.cumsum(lengths[codes])[:-1]]), lengths[codes])
    columns = flat[(offsets + np.arange(len(rows))).astype(np.int64)]
    blank = np.array([not text for text in texts])
    if how != HOT:
        refuse_unshared(np.bincount(columns, minlength=len(names)), len(codes), name, source)
    return NameRows(names, rows, columns, ~blank[codes], how, "choices" in how or how == HOT)


def _from_lists(column: pa.ChunkedArray, name: str, source: Source, declared: bool) -> NameRows:
    """Names from a column of lists of texts, numbers or states."""
    source.refuse_unused(["separator"], "a column of text")
    array = one_array(column)
    kind = array.type.value_type
    flat = pc.list_flatten(array)
    is_boolean = pa.types.is_boolean(kind)
    if is_boolean or pa.types.is_floating(kind):
        flat, kind = _as_numbers(flat, name), pa.int64()
    if not (pa.types.is_string(kind) or pa.types.is_integer(kind)):
        fields = fields_of_names(kind, name) if pa.types.is_struct(kind) else []
        advice = "write the names themselves as text"
        if fields:
            advice = f"add ?labels={as_option(fields[:1])} for the names"
        raise LabelwiseError(
            f"column {name!r} of lists of {kind}",
            "lists of label names",
            f"{advice}, or leave the column out with ?ignore={as_option([name])}",
        )
    lengths = pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False)
    if flat.null_count:
        raise LabelwiseError(f"column {name!r} with a null inside a list", "label names", "correct the rows")
    if pa.types.is_integer(kind) and len(flat):
        lists = [tuple(int(n) for n in cell) for cell in {tuple(c or ()) for c in array.to_pylist()}]
        if is_multi_hot(lists, name, is_boolean):
            width = max(map(len, lists))
            row, label = np.nonzero(flat.to_numpy(zero_copy_only=False).reshape(-1, width))
            filled = np.flatnonzero(lengths)
            return NameRows(tuple(map(str, range(width))), filled[row], label, lengths > 0, HOT, answers=True)
    texts = pc.utf8_trim_whitespace(flat.cast(pa.string()))
    rows = np.repeat(np.arange(len(array)), lengths)
    nonempty = pc.greater(pc.utf8_length(texts), 0).to_numpy(zero_copy_only=False).astype(bool)
    coded = texts.filter(pa.array(nonempty)).dictionary_encode()
    order = np.argsort(np.array(coded.dictionary.to_pylist(), object), kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    names = tuple(coded.dictionary[int(j)].as_py() for j in order)
    filled_rows = (tuple(map(str, row)) for row in array.to_pylist() if row)
    refuse_states(names, filled_rows, f"column {name!r}", declared)
    indices = coded.indices.to_numpy(zero_copy_only=False)
    known = array.is_valid().to_numpy(zero_copy_only=False) & (lengths > 0)
    refuse_unshared(np.bincount(indices, minlength=len(names)), len(array), name, source)
    return NameRows(names, rows[nonempty], rank[indices], known, "from lists")


def _as_numbers(flat: pa.Array, name: str) -> pa.Array:
    """Cells of lists as whole numbers; raises `LabelwiseError` for shares."""
    try:
        return flat.cast(pa.int64())
    except pa.ArrowInvalid:
        raise LabelwiseError(
            f"column {name!r} of lists of shares, as {[round(n, 3) for n in flat[:3].to_pylist() if n is not None]}",
            "lists of label names, or of 0 and 1",
            f"write one column per label, or leave it out with ?ignore={as_option([name])}",
        ) from None


def nothing_word(rows: NameRows, source: Source, notes: list[str]) -> NameRows:
    """The rows without the name for `no label is present`: the option `none`, or a usual one that is always alone.

    Raises:
        LabelwiseError: the value of `none` is no name of the column, or is beside other names.
    """

    def alone(name: str) -> np.ndarray:
        """For each mention of a name, whether it is the only one of its row."""
        mentions = rows.columns == rows.names.index(name)
        return np.bincount(rows.rows, minlength=len(rows.known))[rows.rows[mentions]] == 1

    given = source.options.get("none")
    if given is not None:
        empty = [name for name in rows.names if given and same(name, given)]
        if given and not empty:
            raise LabelwiseError(
                f"none={given} in {str(source)!r}, which no cell holds",
                f"a name that occurs: {', '.join(rows.names[:8])}",
                "correct the option or leave it out",
            )
    else:
        empty = [n for n in rows.names if spaced(n) in NOTHING]
        empty = [n for n in empty if alone(n).all()]
    for name in empty:
        is_alone = alone(name)
        if not is_alone.all():
            raise LabelwiseError(
                f"{int((~is_alone).sum()):,} cells with {name!r} beside other names",
                "the name for `no label is present` alone in its cell",
                "correct the cells, or leave none= out",
            )
        notes.append(
            f"{len(is_alone):,} cells hold {name!r}: all labels are absent there (?none={escaped(name)})."
        )
        rows = rows.without(name)
    return rows
