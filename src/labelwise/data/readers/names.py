"""A column of label names: names parted by a mark, lists, or lists that a tool wrote as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelwise.data.readers.arrow import is_list, one_array
from labelwise.data.readers.cells import is_blank, same
from labelwise.data.readers.label_counts import refuse_huge, refuse_unshared
from labelwise.data.readers.name_doubts import (
    NOTHING,
    refuse_bits,
    refuse_joined,
    refuse_marked,
    refuse_words,
    spaced,
)
from labelwise.data.readers.name_lists import hot_rows, is_list_text, is_multi_hot, list_of, whole_numbers
from labelwise.data.source import Source, escaped, listed
from labelwise.errors import LabelwiseError

MARKS = (";", "|", ",", "#", "\t")
_HOT = "from lists of 0 and 1, so that labels are called by their place"


@dataclass(frozen=True)
class NameRows:
    """Label names of rows.

    Args:
        names: distinct names, sorted.
        rows, columns: `[K]` the row and the place among `names` of each mention.
        known: `[N]` bool; `False` where a row says nothing of its labels.
        how: how they were parted, for a note.
        answers: whether blank cells mean that nobody answered.
    """

    names: tuple[str, ...]
    rows: np.ndarray
    columns: np.ndarray
    known: np.ndarray
    how: str
    answers: bool = False

    def matrix(self) -> np.ndarray:
        """`[N, L]` uint8: which row names which."""
        values = np.zeros((len(self.known), len(self.names)), np.uint8)
        values[self.rows, self.columns] = 1
        return values

    @cached_property
    def place(self) -> dict[str, int]:
        """Of each name its place among them."""
        return {name: place for place, name in enumerate(self.names)}

    def without(self, name: str) -> NameRows:
        """The same rows without one of the names."""
        keep = self.columns != self.place[name]
        columns = self.columns[keep] - (self.columns[keep] > self.place[name])
        names = tuple(other for other in self.names if other != name)
        return replace(self, names=names, rows=self.rows[keep], columns=columns)


def named_rows(
    column: pa.ChunkedArray, name: str, source: Source, row_name: Callable[[int], str]
) -> NameRows:
    """The label names of a column's cells.

    Args:
        column: plain text such as `dog;person`, `["dog", "person"]` or `{"choices": ["dog"]}`; numbers; or lists.
        name: of the column.
        source: its option `separator` is the mark between names; empty for one name a cell.
        row_name: how to name a row in a message.

    Raises:
        LabelwiseError: lists that cannot be parsed, or blanks that may part names or belong to them.
    """
    if pa.types.is_struct(column.type) or pa.types.is_map(column.type):
        raise LabelwiseError(
            f"column {name!r} of objects",
            "names of labels, or a column a label",
            f"write a column a label, or JSON lines for jsonl:FILE; ?ignore={listed([name])} leaves it out",
        )
    if is_list(column.type):
        return _from_lists(column, name, source)
    coded = one_array(column).dictionary_encode()
    cells = [*coded.dictionary.to_pylist(), None]
    codes = coded.indices.fill_null(len(cells) - 1).to_numpy(zero_copy_only=False)
    texts = ["" if is_blank(cell) else str(cell).strip() for cell in cells]
    texts = [
        str(int(c)) if isinstance(c, float) and c.is_integer() else t
        for c, t in zip(cells, texts, strict=True)
    ]
    texts = whole_numbers(texts)
    parted, how = _parted(texts, name, source, lambda place: row_name(int(np.flatnonzero(codes == place)[0])))
    names = tuple(sorted({n for part in parted for n in part}))
    place = {n: j for j, n in enumerate(names)}
    lengths = np.array([len(part) for part in parted], np.int64)
    flat = np.array([place[n] for part in parted for n in part], np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    rows = np.repeat(np.arange(len(codes)), lengths[codes])
    first = np.repeat(starts[codes] - np.concatenate([[0], np.cumsum(lengths[codes])[:-1]]), lengths[codes])
    columns = flat[(first + np.arange(len(rows))).astype(np.int64)]
    blank = np.array([not text for text in texts])
    if how != _HOT:
        refuse_unshared(np.bincount(columns, minlength=len(names)), len(codes), name, source)
    return NameRows(names, rows, columns, ~blank[codes], how, "choices" in how or how == _HOT)


def _from_lists(column: pa.ChunkedArray, name: str, source: Source) -> NameRows:
    if "separator" in source.options:
        raise LabelwiseError(
            f"separator={source.options['separator']!r} for the column {name!r} of lists",
            "a column of text",
            "leave the option out",
        )
    array = column.combine_chunks()
    array = pa.concat_arrays(array.chunks) if isinstance(array, pa.ChunkedArray) else array
    kind = array.type.value_type
    flat = pc.list_flatten(array)
    hot = pa.types.is_boolean(kind)
    if hot or pa.types.is_floating(kind):
        flat, kind = _as_numbers(flat, name), pa.int64()
    if not (pa.types.is_string(kind) or pa.types.is_integer(kind)):
        raise LabelwiseError(
            f"column {name!r} of lists of {kind}",
            "lists of label names",
            f"write the names themselves as text, or leave the column out with ?ignore={listed([name])}",
        )
    lengths = pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False)
    if flat.null_count:
        raise LabelwiseError(f"column {name!r} with a null inside a list", "label names", "correct the rows")
    if pa.types.is_integer(kind) and len(flat):
        lists = [tuple(int(n) for n in cell) for cell in {tuple(c or ()) for c in array.to_pylist()}]
        if is_multi_hot(lists, name, hot):
            width = max(map(len, lists))
            row, place = np.nonzero(flat.to_numpy(zero_copy_only=False).reshape(-1, width))
            valid = np.flatnonzero(lengths)
            return NameRows(tuple(map(str, range(width))), valid[row], place, lengths > 0, _HOT, answers=True)
    texts = pc.utf8_trim_whitespace(flat.cast(pa.string()))
    rows = np.repeat(np.arange(len(array)), lengths)
    keep = pc.greater(pc.utf8_length(texts), 0).to_numpy(zero_copy_only=False).astype(bool)
    coded = texts.filter(pa.array(keep)).dictionary_encode()
    order = np.argsort(np.array(coded.dictionary.to_pylist(), object), kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    names = tuple(coded.dictionary[int(j)].as_py() for j in order)
    refuse_words(names, bool(lengths.max(initial=0) > 1), f"column {name!r}")
    indices = coded.indices.to_numpy(zero_copy_only=False)
    known = array.is_valid().to_numpy(zero_copy_only=False) & (lengths > 0)
    refuse_unshared(np.bincount(indices, minlength=len(names)), len(array), name, source)
    return NameRows(names, rows[keep], rank[indices], known, "from lists")


def _as_numbers(flat: pa.Array, name: str) -> pa.Array:
    """Cells of lists as whole numbers; raises `LabelwiseError` for shares."""
    try:
        return flat.cast(pa.int64())
    except pa.ArrowInvalid:
        raise LabelwiseError(
            f"column {name!r} of lists of shares, as {[round(n, 3) for n in flat[:3].to_pylist() if n is not None]}",
            "lists of label names, or of 0 and 1",
            f"write a column a label, or leave it out with ?ignore={listed([name])}",
        ) from None


def named_texts(
    texts: Sequence[str], name: str, source: Source, where: Callable[[int], str]
) -> tuple[list[list[str]], str]:
    """Label names of each text, and how they were parted, for a note; raises as `named_rows` does."""
    parted, how = _parted(texts, name, source, where)
    if how != _HOT:
        mentions = Counter(part for row in parted for part in row)
        refuse_unshared(np.fromiter(mentions.values(), np.int64), len(texts), name, source)
    return parted, how


def indicator(named: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], np.ndarray]:
    """Sorted names and the `[N, L]` uint8 matrix of which row names which.

    >>> indicator([["dog"], ["cat", "dog"]])
    (('cat', 'dog'), array([[0, 1],
           [1, 1]], dtype=uint8))
    """
    names = tuple(sorted({name for row in named for name in row}))
    column = {name: j for j, name in enumerate(names)}
    refuse_huge(len(named), len(names), "a table of names")
    values = np.zeros((len(named), len(names)), np.uint8)
    rows = np.repeat(np.arange(len(named)), [len(row) for row in named])
    values[rows, [column[name] for row in named for name in row]] = 1
    return names, values


def _parted(
    texts: Sequence[str], name: str, source: Source, where: Callable[[int], str]
) -> tuple[list[list[str]], str]:
    given = source.options.get("separator")
    if given is None and any(map(is_list_text, texts)):
        parted = [list_of(text, name, where, place) for place, text in enumerate(texts)]
        plain = [place for place, text in enumerate(texts) if text and not is_list_text(text)]
        if plain and not any("choices" in text for text in texts):
            inner, _ = _parted([texts[place] for place in plain], name, source, lambda i: where(plain[i]))
            for place, names in zip(plain, inner, strict=True):
                parted[place] = names
        if (hot := hot_rows(parted, name)) is not None:
            return hot, _HOT
        choices = any("choices" in text for text in texts)
        return parted, "from lists written as text" + (" with choices" if choices else "")
    mark = next((m for m in MARKS if any(m in text for text in texts)), None) if given is None else given
    if given is None and mark is None and any(" " in text for text in texts):
        mark = _blank_mark(texts, name)
    if given and not any(given in text for text in texts):
        raise LabelwiseError(
            f"separator={given!r}, which no cell of the column {name!r} holds",
            "the mark between names; empty for one name a cell",
            "correct the option or leave it out",
        )
    parted = [
        [part.strip() for part in (text.split(mark) if mark else [text]) if part.strip()] for text in texts
    ]
    if given is None:
        if (hot := hot_rows(parted, name)) is not None:
            return hot, _HOT
        every = {part for row in parted for part in row}
        refuse_bits(every, f"column {name!r}")
        refuse_words(every, any(len(row) > 1 for row in parted), f"column {name!r}")
        refuse_marked(every, f"column {name!r}", mark)
        refuse_joined(every, name, mark)
    return parted, f"separated by {mark!r}" if mark else "one in each cell, as no separator was found"


def _blank_mark(texts: Sequence[str], name: str) -> str | None:
    """A blank where blanks part names: every part of such cells stands in other cells too; `None` where none does."""
    cells = {text for text in texts if text}
    if all(text.replace(" ", "").isdigit() for text in cells):
        return " "  # no number holds a blank
    uses: dict[str, int] = {}
    for cell in cells:
        for part in set(cell.split()):
            uses[part] = uses.get(part, 0) + 1
    several = [cell for cell in cells if " " in cell]
    again = [cell for cell in several if all(uses[part] > 1 for part in cell.split())]
    if len(again) >= 0.8 * len(several):
        return " "
    if len(again) <= 0.2 * len(several):
        return None
    raise LabelwiseError(
        f"column {name!r} with cells such as {several[0]!r}, in which a blank may part names or belong to one",
        "one of the two",
        "add ?separator=%20 if it parts names, or ?separator= if each cell is one name",
    )


def nothing_word(rows: NameRows, source: Source, notes: list[str]) -> NameRows:
    """The rows without the word for `no label is present`: the option `none`, or a usual one that always stands alone.

    Raises:
        LabelwiseError: `none` is no name of the column, or stands beside other names.
    """
    alone = np.bincount(rows.rows, minlength=len(rows.known))[rows.rows] == 1
    given = source.options.get("none")
    if given is not None:
        words = [name for name in rows.names if given and same(name, given)]
        if given and not words:
            raise LabelwiseError(
                f"none={given} in {str(source)!r}, which no cell holds",
                f"a name that occurs: {', '.join(rows.names[:8])}",
                "correct the option or leave it out",
            )
    else:
        words = [n for n in rows.names if spaced(n) in NOTHING]
        words = [n for n in words if alone[rows.columns == rows.place[n]].all()]
    for word in words:
        here = rows.columns == rows.place[word]
        if not alone[here].all():
            raise LabelwiseError(
                f"{int((here & ~alone).sum()):,} cells with {word!r} beside other names",
                "the word for `no label is present` alone in its cell",
                "correct the cells, or leave none= out",
            )
        notes.append(
            f"{int(here.sum()):,} cells say {word!r}: all labels are absent there (?none={escaped(word)})."
        )
        rows = rows.without(word)
    return rows
