"""What to say of cells that are no label states: what they likely mean, and the option that reads them so."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwise.data.readers.cells import Meaning, is_blank, number, shown, text_of
from labelwise.data.readers.metadata_names import is_metadata
from labelwise.data.source import Source, listed
from labelwise.errors import LabelwiseError

if TYPE_CHECKING:
    from labelwise.data.readers.states import Column

STRAY = 0.1
"""Largest share of a label column's cells that are taken for slips rather than for another kind of column."""
MOST_WORDS = 30
MOST_COUNTS = 12
_DOUBTS = frozenset({"?", "-", "–", ".", "u", "unknown", "unclear", "uncertain", "unsure"})
"""Texts that stand for `unknown` beside two states."""
_DENIALS = ("-", "–", "−", "✗", "✘", "no", "un", "kein", "ohne", "sans", "sin ", "ne")
"""How texts for absent begin."""


def no_states(
    columns: Sequence[Column],
    wrong: Mapping[str, Sequence[Any]],
    meaning: Meaning,
    source: Source,
    row_name: Callable[[int], str],
) -> LabelwiseError:
    """The error for label columns with cells that are no states; it names all of them and every option that helps.

    Args:
        columns: all label columns.
        wrong: the cells of each column that are no states.
        meaning: what the options already say.
        source: where the table is from.
        row_name: how to name a row.
    """
    bad = [column for column in columns if wrong[column.name]]
    if _minus_unclear(bad, wrong):
        return LabelwiseError(
            f"{source.path}: -1 in {_names(bad)}, whose other cells are 1, beside columns of 0 and 1",
            "one meaning of -1",
            "add ?absent=-1 or ?unknown=-1, whichever it means",
        )
    stated = bool(meaning.absent or meaning.present)
    pair = [] if stated else _pair(bad, wrong, columns)
    counted = [c for c in bad if {_key(x) for x in c.present()} == {"0", "1", "2"}]
    threes = [] if pair or stated else [c for c in counted if not is_metadata(c.name)]
    strays = [c for c in bad if c not in (*pair, *threes) and _is_stray(c, wrong[c.name], stated)]
    others = [c for c in bad if c not in (*pair, *threes, *strays)]
    if strays and not pair and not others:
        return _stray_cells(strays, wrong, row_name)
    advice = []
    before = source.names("ignore")
    ignore = f"ignore={listed([*before, *(column.name for column in others)])}"
    kept = len(columns) - len(others)
    if threes:
        advice.append(_threes_advice(threes, f"&{ignore}" if others else ""))
    if pair:
        advice.append(_pair_advice(pair, strays, wrong, ignore if others else ""))
    advice += _marks_advice(others)
    same = [] if pair or stated else _same_words(others)
    if same:
        names = listed(column.name for column in same)
        advice.append(f"if {_names(same)} hold names of the same labels, add ?labels={names}")
    codes = {_key(cell) for c in others for cell in wrong[c.name]}
    coded = len(codes) == 1 and codes != {"2"} and all(number(code) is not None for code in codes)
    if coded and all({"0", "1"} <= {_key(x) for x in c.present()} for c in others):
        advice.append(f"{_names(others)}: add ?unknown={listed(codes)} if that means unknown")
    elif others and all(map(_is_count, others)):
        counts = sorted({number(cell) or 0.0 for c in columns for cell in c.present()} - {0.0})
        some = listed(f"{count:g}" for count in counts)
        advice.append(f"if {_names(others)} are counts, add ?present={some}, so that 0 alone means absent")
    words = [column for column in others if column not in same and _is_words(column)]
    if words:
        some = ", ".join(column.name for column in words[:3]) + (", ..." if len(words) > 3 else "")
        advice.append(
            f"{some} can be read as an exclusive group, one label a word, with "
            f"?classes={listed(column.name for column in words)}"
        )
    if strays and not pair:
        texts = listed(dict.fromkeys(text_of(cell) for column in strays for cell in wrong[column.name]))
        advice.append(f"{_names(strays)}: correct the cells, or read them as unknown with ?unknown={texts}")
    if others and not pair and not threes and (kept or words):
        idle = [c.name for c in columns if c not in others and not c.present() and _looks_free(c.name)]
        advice.append(f"leave out what is no label with ?{ignore}" + (f",{listed(idle)}" if idle else ""))
    given = "; ".join(
        f"{c.name} ({shown(map(text_of, wrong[c.name]))} from {_first(c, wrong, row_name)} on)" for c in bad
    )
    kinds = "column" if len(bad) == 1 else f"{len(bad)} columns"
    return LabelwiseError(
        f"{source.path}: {kinds} with cells that are no label states: {given}",
        "1, 0 or blank (unknown), or true/false, yes/no, in every label column",
        "; ".join(advice) or _labels_advice(others),
    )


def _marks_advice(columns: Sequence[Column]) -> list[str]:
    """Advice on columns in which a single mark, such as x, stands in some cells."""
    found: dict[str, list[Column]] = {}
    for column in columns:
        marks = column.present()
        if len(marks) == 1 and number(marks[0]) is None and _is_mark(text_of(marks[0])):
            found.setdefault(text_of(marks[0]).casefold(), []).append(column)
    return [
        f"{_names(marked)}: add ?present={listed([text_of(marked[0].present()[0])])} if that marks a label, "
        "and &blank=negative if a blank cell means absent"
        for marked in found.values()
    ]


def _same_words(columns: Sequence[Column]) -> list[Column]:
    """Columns of text of which each shares half of its words with another: several names of an image, a column each."""
    words = [{text_of(cell) for cell in column.present() if number(cell) is None} for column in columns]

    def shares(mine: set[str], theirs: set[str]) -> bool:
        return bool(mine) and 2 * len(mine & theirs) >= min(len(mine), len(theirs)) > 0

    return [
        column
        for i, column in enumerate(columns)
        if len(words[i]) == len(column.present())
        and set().union(*words) > {min(words[i])}
        and any(shares(words[i], other) for j, other in enumerate(words) if j != i)
    ]


def _is_count(column: Column) -> bool:
    """Whether cells are few whole numbers from 0 on."""
    numbers = [number(cell) for cell in column.present()]
    whole = all(n is not None and n >= 0 and n == int(n) for n in numbers)
    return whole and not is_metadata(column.name) and 0.0 in numbers and len(numbers) <= MOST_COUNTS


def _labels_advice(columns: Sequence[Column]) -> str:
    """Which column may hold the names of labels: one of lists or of several words a cell, else any."""
    columns = [c for c in columns if any(number(cell) is None for cell in c.present())]
    likely = [c for c in columns if any(re.search(r"[,;|#]", text_of(cell)) for cell in c.present())]
    likely += [c for c in columns if any(" " in text_of(cell) for cell in c.present())]
    names = [column.name for column in likely or columns]
    if not names:
        return (
            "write a share between 0 and 1 where these are grades, or name the label columns with ?labels=A,B"
        )
    return f"if {names[0]} holds names of labels, add ?labels={listed(names[:1])}"


def _stray_cells(
    strays: Sequence[Column], wrong: Mapping[str, Sequence[Any]], row_name: Callable[[int], str]
) -> LabelwiseError:
    column = strays[0]
    cell = wrong[column.name][0]
    texts = listed(dict.fromkeys(text_of(c) for s in strays for c in wrong[s.name]))
    more = f" and other cells of {_names(strays)}" if len(strays) > 1 or len(wrong[column.name]) > 1 else ""
    return LabelwiseError(
        f"{_first(column, wrong, row_name)}, column {column.name!r}: {shown([cell])}{more}",
        "1, 0, blank (unknown) or a share in between",
        f"correct the cell, or read such cells as unknown with ?unknown={texts}",
    )


def _minus_unclear(bad: Sequence[Column], wrong: Mapping[str, Sequence[Any]]) -> bool:
    return all(number(cell) == -1 for column in bad for cell in wrong[column.name])


def _pair(
    bad: Sequence[Column], wrong: Mapping[str, Sequence[Any]], columns: Sequence[Column]
) -> list[Column]:
    """Columns that spell two states by the same two texts, which is how 1 and 2, or two words, are told apart.

    Two words count only where no column holds usual states or where several columns share them: `Sex` alone among
    columns of 0 and 1 is no label of that table.
    """
    sets: dict[frozenset[str], list[Column]] = {}
    for column in bad:
        texts = _two_texts(column, wrong[column.name])
        if len(texts) == 2:
            sets.setdefault(texts, []).append(column)
    if not sets:
        return []
    texts, members = max(sets.items(), key=lambda item: len(item[1]))
    numeric = all(number(text) is not None for text in texts)
    clean = [column for column in columns if not wrong[column.name] and column.present()]
    subsets = [c for c in clean if {_key(cell) for cell in c.present()} <= texts]
    if len(clean) > len(subsets) or not (numeric or len(members) > 1 or len(columns) == 1):
        return []
    near = [c for c in bad if c not in members and _all_but_few(c, texts)]
    return [*members, *near]


def _two_texts(column: Column, wrong: Sequence[Any]) -> frozenset[str]:
    """Texts of a column, without those for unknown where more are left otherwise and not they alone are wrong."""
    texts = frozenset(_key(cell) for cell in column.present())
    return texts - _DOUBTS if len(texts) > 2 and not {_key(cell) for cell in wrong} <= _DOUBTS else texts


def _key(cell: Any) -> str:
    value = number(cell)
    return f"{value:g}" if value is not None else text_of(cell).casefold()


def _all_but_few(column: Column, texts: frozenset[str]) -> bool:
    """Whether a column holds the two texts, or one, and 0, which many tools write for a question not answered."""
    keys = {_key(cell) for cell in column.present()}
    return bool(keys & texts) and keys - texts <= {"0", *_DOUBTS}


def _pair_advice(
    pair: Sequence[Column], strays: Sequence[Column], wrong: Mapping[str, Sequence[Any]], ignore: str
) -> str:
    texts = {
        _key(c): text_of(c) for c in pair[0].present() if _key(c) in _two_texts(pair[0], wrong[pair[0].name])
    }
    numeric = all(number(text) is not None for text in texts.values())
    low, high = sorted(
        texts.values(),
        key=lambda text: (number(text) or 0.0, not text.casefold().startswith(_DENIALS), text),
    )
    rest = {
        _key(cell): text_of(cell) for c in (*pair, *strays) for cell in c.present() if _key(cell) not in texts
    }
    tail = (f"&unknown={listed(rest.values())}" if rest else "") + (f"&{ignore}" if ignore else "")
    one, other = listed([low]), listed([high])
    middle = f"add ?absent={one}&present={other}{tail} if {low} means absent and {high} present"
    return f"{middle}, else ?absent={other}&present={one}{tail}" + (
        "" if numeric else f", or ?classes={listed(c.name for c in pair)} for a label a word"
    )


def _threes_advice(threes: Sequence[Column], tail: str) -> str:
    """What 0, 1 and 2 may mean; the rarer of 0 and 2 is likelier the one for unknown."""
    total = {"0": 0, "2": 0}
    for column in threes:
        for cell, count in zip(column.cells, column.counts, strict=True):
            if not is_blank(cell) and _key(cell) in total:
                total[_key(cell)] += int(count)
    ways = [
        f"?absent=1&present=2&unknown=0{tail} if 1 means absent, 2 present and 0 not answered",
        f"?unknown=2{tail} if 2 means unknown",
    ]
    first, second = ways if total["0"] <= total["2"] else reversed(ways)
    return f"add {first}, else {second}"


def _is_stray(column: Column, cells: Sequence[Any], stated: bool) -> bool:
    """Whether the wrong cells are few beside usual states, or a single text beside both 0 and 1 or stated ones."""
    known = [c for c in column.present() if c not in cells]
    rows = sum(int(n) for c, n in zip(column.cells, column.counts, strict=True) if c in cells)
    total = sum(int(n) for c, n in zip(column.cells, column.counts, strict=True) if not is_blank(c))
    both = stated or {number(cell) for cell in known} >= {0.0, 1.0}
    texts = [number(cell) is None or stated for cell in cells]
    few = rows <= max(1, STRAY * total)
    return bool(known) and ((few and len(cells) <= 5) or (both and len(cells) == 1 and all(texts)))


def _is_words(column: Column) -> bool:
    cells = column.present()
    rows = int(column.counts[[not is_blank(cell) for cell in column.cells]].sum())
    texts = all(number(cell) is None and isinstance(cell, str) and len(cell) <= 40 for cell in cells)
    return texts and 2 <= len(cells) <= MOST_WORDS and rows >= 2 * len(cells)


def _is_mark(text: str) -> bool:
    return len(text) == 1 or text.casefold() in ("yes", "true", "ja", "oui", "si", "ok", "checked")


def _looks_free(name: str) -> bool:
    return name.casefold() in ("note", "notes", "comment", "comments", "remark", "remarks", "description")


def _names(columns: Sequence[Column]) -> str:
    names = [column.name for column in columns]
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _first(column: Column, wrong: Mapping[str, Sequence[Any]], row_name: Callable[[int], str]) -> str:
    codes = [i for i, cell in enumerate(column.cells) if cell in wrong[column.name]]
    rows = np.flatnonzero(np.isin(column.codes, codes))
    return row_name(int(rows[0])) if len(rows) else "no row"
