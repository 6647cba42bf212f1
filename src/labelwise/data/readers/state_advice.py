"""Advice on cells that are not label states: their likely meaning, and the option that reads them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from labelwise.data.readers.cells import LETTERS, Meaning, format_cells, number, text_of
from labelwise.data.readers.metadata_names import is_metadata
from labelwise.data.readers.name_doubts import few, refuse_negatives
from labelwise.data.readers.state_kinds import (
    Wrong,
    holds_lists,
    is_categorical,
    is_count,
    is_mark,
    is_numbered,
    is_person,
    is_split,
    is_stray,
    keys_of,
    looks_free,
    minus_unclear,
    pair_of,
    sharing_texts,
    texts_of,
    two_texts,
    wrong_cells,
)
from labelwise.data.source import Source, as_option
from labelwise.errors import LabelwiseError

if TYPE_CHECKING:
    from labelwise.data.readers.states import Column

_DENIALS = ("-", "–", "−", "✗", "✘", "no", "un", "kein", "ohne", "sans", "sin ", "ne")
"""Starts of texts that mean absent."""


def no_states(
    columns: Sequence[Column], wrong: Wrong, meaning: Meaning, source: Source, row_name: Callable[[int], str]
) -> LabelwiseError:
    """The error for label columns with cells that are not states; it lists these columns and all helpful options.

    Args:
        columns: all label columns.
        wrong: for each column, the indices of the distinct cells that are not states, ascending.
        meaning: the meanings that options already set.
        source: the source of the table.
        row_name: returns the name of a row.
    """
    invalid = [column for column in columns if len(wrong[column.name])]
    refuse_negatives(
        [c.name for c in invalid if any(number(cell) is None for cell in wrong_cells(c, wrong))], source
    )
    if minus_unclear(invalid, wrong):
        return LabelwiseError(
            f"{source.path}: -1 in {_listed(invalid)}, whose other cells are 1, beside columns of 0 and 1",
            "one meaning of -1",
            "add ?absent=-1 or ?unknown=-1, according to its meaning",
        )
    stated = bool(meaning.absent or meaning.present)
    lists, splits = ([c for c in invalid if test(c)] for test in (holds_lists, is_split))
    plain = [c for c in invalid if c not in (*lists, *splits)]
    pair = [] if stated else pair_of(plain, wrong, columns)
    counted = [c for c in plain if keys_of(c) == {"0", "1", "2"}]
    threes = [] if pair or stated else [c for c in counted if not is_metadata(c.name)]
    strays = [c for c in invalid if c not in (*pair, *threes) and is_stray(c, wrong, stated)]
    others = [c for c in invalid if c not in (*pair, *threes, *strays)]
    if strays and not pair and not others:
        return _stray_cells(strays, wrong, row_name)
    advice = []
    ignored = source.names("ignore")
    ignore = f"ignore={as_option([*ignored, *(column.name for column in others)])}"
    label_count = len(columns) - len(others)
    if threes:
        usual = any(not len(wrong[column.name]) and "0" in keys_of(column) for column in columns)
        advice.append(_threes_advice(threes, f"&{ignore}" if others else "", usual))
    if pair:
        advice.append(_pair_advice(pair, strays, wrong, ignore if others else ""))
    advice += _marks_advice(others)
    same = [] if pair or stated else sharing_texts(others)
    if same:
        names = as_option(column.name for column in same)
        advice.append(f"if {_listed(same)} hold names of the same labels, add ?labels={names}")
    codes = {c.keys[index] for c in others for index in wrong[c.name].tolist()}
    coded = len(codes) == 1 and codes != {"2"} and all(number(code) is not None for code in codes)
    if coded and all({"0", "1"} <= keys_of(c) for c in others):
        advice.append(f"{_listed(others)}: add ?unknown={as_option(codes)} if that means unknown")
    elif others and all(map(is_count, others)):
        counts = sorted({number(cell) or 0.0 for c in columns for cell in c.present()} - {0.0})
        listed = as_option(f"{count:g}" for count in counts)
        advice.append(f"if {_listed(others)} are counts, add ?present={listed}, so that 0 alone means absent")
    numbered = [c for c in (*threes, *others) if c in plain and is_numbered(c) and not is_metadata(c.name)]
    if numbered:
        names = as_option(column.name for column in numbered)
        advice.append(f"if the numbers in {_listed(numbered)} are those of classes, add ?classes={names}")
    names_of = [column for column in lists if column in others and column not in same]
    if names_of:
        title = names_of[0].name
        advice.append(f"if {title} holds names of labels, add ?labels={as_option([title])}")
    if splits:
        left = as_option([*ignored, *(c.name for c in others if c not in splits[:1])])
        advice.append(
            f"if {splits[0].name} holds the split, add ?split={as_option([splits[0].name])}"
            + (f"&ignore={left}" if left else "")
        )
    persons = [column for column in others if is_person(column)]
    if persons:
        left = as_option([*ignored, *(c.name for c in others if c is not persons[0])])
        advice.append(
            f"add ?group={as_option([persons[0].name])}{f'&ignore={left}' if left else ''} to keep the images of one "
            f"{persons[0].name} in one split"
        )
    categorical = [c for c in others if c not in (*persons, *same) and c in plain and is_categorical(c)]
    if categorical:
        listed = few([column.name for column in categorical], 3)
        advice.append(
            f"{listed} can be read as an exclusive group, one label per text, with "
            f"?classes={as_option(column.name for column in categorical)}"
        )
    if strays and not pair:
        texts = as_option(_once(text_of(cell) for column in strays for cell in wrong_cells(column, wrong)))
        advice.append(f"{_listed(strays)}: correct the cells, or read them as unknown with ?unknown={texts}")
    if others and not pair and not threes and (label_count or categorical):
        free = [c.name for c in columns if c not in others and not c.present() and looks_free(c.name)]
        advice.append(f"leave out what is no label with ?{ignore}" + (f",{as_option(free)}" if free else ""))
    given = "; ".join(
        f"{c.name} ({format_cells(map(text_of, wrong_cells(c, wrong)))} from {_first_row(c, wrong, row_name)} on)"
        for c in invalid
    )
    kinds = "column" if len(invalid) == 1 else f"{len(invalid)} columns"
    return LabelwiseError(
        f"{source.path}: {kinds} with cells that are not label states: {given}",
        "1, 0 or blank (unknown), or true/false, yes/no, in every label column",
        "; ".join(advice) or _labels_advice(others),
    )


def _marks_advice(columns: Sequence[Column]) -> list[str]:
    """Advice on columns with a single mark, such as x, in some cells."""
    by_text: dict[str, list[Column]] = {}
    for column in columns:
        marks = column.present()
        if (
            len(marks) <= 2
            and len(keys_of(column)) == 1
            and number(marks[0]) is None
            and is_mark(text_of(marks[0]))
        ):
            by_text.setdefault(text_of(marks[0]).casefold(), []).append(column)
    return [
        f"{_listed(marked)}: add ?absent={as_option([text])} if that means absent"
        if text in {absent for absent, _ in LETTERS}
        else f"{_listed(marked)}: add ?present={as_option([text_of(marked[0].present()[0])])} if that marks a label, "
        "and &blank=negative if a blank cell means absent"
        for text, marked in by_text.items()
    ]


def _labels_advice(columns: Sequence[Column]) -> str:
    """Advice on the column that may hold label names: one with lists or blanks in its cells, else any."""
    columns = [c for c in columns if any(number(cell) is None for cell in c.present())]
    likely = [c for c in columns if any(re.search(r"[,;|#]", text_of(cell)) for cell in c.present())]
    likely += [c for c in columns if any(" " in text_of(cell) for cell in c.present())]
    names = [column.name for column in likely or columns]
    if not names:
        return (
            "write a share between 0 and 1 where these are grades, or name the label columns with ?labels=A,B"
        )
    return f"if {names[0]} holds names of labels, add ?labels={as_option(names[:1])}"


def _stray_cells(strays: Sequence[Column], wrong: Wrong, row_name: Callable[[int], str]) -> LabelwiseError:
    """The error for a few cells that are no states among others that are."""
    column = strays[0]
    cell = wrong_cells(column, wrong)[0]
    texts = as_option(_once(text_of(c) for s in strays for c in wrong_cells(s, wrong)))
    more = f" and other cells of {_listed(strays)}" if len(strays) > 1 or len(wrong[column.name]) > 1 else ""
    return LabelwiseError(
        f"{_first_row(column, wrong, row_name)}, column {column.name!r}: {format_cells([cell])}{more}",
        "1, 0, blank (unknown) or a share in between",
        f"correct the cell, or read these cells as unknown with ?unknown={texts}",
    )


def _pair_advice(pair: Sequence[Column], strays: Sequence[Column], wrong: Wrong, ignore: str) -> str:
    """Advice on columns that write two states as other texts, with both ways to read them."""
    pair_texts = two_texts(pair[0], wrong)
    texts = {key: text for key, text in texts_of(pair[0]).items() if key in pair_texts}
    numeric = all(number(text) is not None for text in texts.values())
    low, high = sorted(
        texts.values(), key=lambda text: (number(text) or 0.0, not text.casefold().startswith(_DENIALS), text)
    )
    further = {key: text for c in (*pair, *strays) for key, text in texts_of(c).items() if key not in texts}
    tail = (f"&unknown={as_option(further.values())}" if further else "") + (f"&{ignore}" if ignore else "")
    first, second = as_option([low]), as_option([high])
    way = f"add ?absent={first}&present={second}{tail} if {low} means absent and {high} present"
    return f"{way}, else ?absent={second}&present={first}{tail}" + (
        "" if numeric else f", or ?classes={as_option(c.name for c in pair)} for one label per text"
    )


def _threes_advice(threes: Sequence[Column], tail: str, usual: bool) -> str:
    """Advice on columns of 0, 1 and 2, where the rarer of 0 and 2 likely means unknown.

    Beside columns of usual states, which another meaning of 1 would invert, only 2 is explained.
    """
    if usual:
        return f"add ?unknown=2{tail} if 2 in {_listed(threes)} means unknown"
    total = {"0": 0, "2": 0}
    for column in threes:
        for index in np.flatnonzero(column.filled).tolist():
            if column.keys[index] in total:
                total[column.keys[index]] += int(column.counts[index])
    ways = [
        f"?absent=1&present=2&unknown=0{tail} if 1 means absent, 2 present and 0 not answered",
        f"?unknown=2{tail} if 2 means unknown",
    ]
    first, second = ways if total["0"] <= total["2"] else reversed(ways)
    return f"add {first}, else {second}"


def _once(texts: Iterable[str]) -> list[str]:
    """The texts that differ in more than case."""
    distinct: dict[str, str] = {}
    for text in texts:
        distinct.setdefault(text.casefold(), text)
    return list(distinct.values())


def _listed(columns: Sequence[Column]) -> str:
    """Names of the columns, for a message."""
    return few([column.name for column in columns])


def _first_row(column: Column, wrong: Wrong, row_name: Callable[[int], str]) -> str:
    """The name of the first row with a cell that is no state."""
    rows = np.flatnonzero(np.isin(column.codes, wrong[column.name]))
    return row_name(int(rows[0])) if len(rows) else "no row"
