"""What to say of cells that are no label states: what they likely mean, and the option that reads them so."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwise.data.readers.cells import LETTERS, Meaning, number, shown, text_of
from labelwise.data.readers.metadata_names import is_metadata
from labelwise.data.readers.name_doubts import UNANSWERED, few
from labelwise.data.source import Source, listed
from labelwise.errors import LabelwiseError

if TYPE_CHECKING:
    from labelwise.data.readers.states import Column

STRAY = 0.1
"""Largest share of a label column's cells that are taken for slips rather than for another kind of column."""
MOST_WORDS = 30
MOST_COUNTS = 12
_DOUBTS = UNANSWERED | {"-", "–", ".", "u"}
"""Texts that stand for `unknown` beside two states."""
Wrong = Mapping[str, np.ndarray]
_DENIALS = ("-", "–", "−", "✗", "✘", "no", "un", "kein", "ohne", "sans", "sin ", "ne")
"""How texts for absent begin."""


def no_states(
    columns: Sequence[Column],
    wrong: Wrong,
    meaning: Meaning,
    source: Source,
    row_name: Callable[[int], str],
) -> LabelwiseError:
    """The error for label columns with cells that are no states; it names all of them and every option that helps.

    Args:
        columns: all label columns.
        wrong: of each column, the places of the distinct cells that are no states, ascending.
        meaning: what the options already say.
        source: where the table is from.
        row_name: how to name a row.
    """
    bad = [column for column in columns if len(wrong[column.name])]
    if _minus_unclear(bad, wrong):
        return LabelwiseError(
            f"{source.path}: -1 in {_names(bad)}, whose other cells are 1, beside columns of 0 and 1",
            "one meaning of -1",
            "add ?absent=-1 or ?unknown=-1, whichever it means",
        )
    stated = bool(meaning.absent or meaning.present)
    pair = [] if stated else _pair(bad, wrong, columns)
    counted = [c for c in bad if _keys(c) == {"0", "1", "2"}]
    threes = [] if pair or stated else [c for c in counted if not is_metadata(c.name)]
    strays = [c for c in bad if c not in (*pair, *threes) and _is_stray(c, wrong, stated)]
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
    codes = {c.keys[place] for c in others for place in wrong[c.name].tolist()}
    coded = len(codes) == 1 and codes != {"2"} and all(number(code) is not None for code in codes)
    if coded and all({"0", "1"} <= _keys(c) for c in others):
        advice.append(f"{_names(others)}: add ?unknown={listed(codes)} if that means unknown")
    elif others and all(map(_is_count, others)):
        counts = sorted({number(cell) or 0.0 for c in columns for cell in c.present()} - {0.0})
        some = listed(f"{count:g}" for count in counts)
        advice.append(f"if {_names(others)} are counts, add ?present={some}, so that 0 alone means absent")
    words = [column for column in others if column not in same and _is_words(column)]
    if words:
        some = few([column.name for column in words], 3)
        advice.append(
            f"{some} can be read as an exclusive group, one label a word, with "
            f"?classes={listed(column.name for column in words)}"
        )
    if strays and not pair:
        texts = listed(dict.fromkeys(text_of(cell) for column in strays for cell in _cells(column, wrong)))
        advice.append(f"{_names(strays)}: correct the cells, or read them as unknown with ?unknown={texts}")
    if others and not pair and not threes and (kept or words):
        idle = [c.name for c in columns if c not in others and not c.present() and _looks_free(c.name)]
        advice.append(f"leave out what is no label with ?{ignore}" + (f",{listed(idle)}" if idle else ""))
    given = "; ".join(
        f"{c.name} ({shown(map(text_of, _cells(c, wrong)))} from {_first(c, wrong, row_name)} on)"
        for c in bad
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
        f"{_names(marked)}: add ?absent={listed([text])} if that means absent"
        if text in {absent for absent, _ in LETTERS}
        else f"{_names(marked)}: add ?present={listed([text_of(marked[0].present()[0])])} if that marks a label, "
        "and &blank=negative if a blank cell means absent"
        for text, marked in found.items()
    ]


def _same_words(columns: Sequence[Column]) -> list[Column]:
    """Columns of text of which each shares half of its words with another: several names of an image, a column each."""
    if len(columns) < 2:
        return []
    words = [{text_of(cell) for cell in column.present() if number(cell) is None} for column in columns]
    several = len(set().union(*words)) > 1

    def shares(mine: set[str], theirs: set[str]) -> bool:
        return bool(mine) and 2 * len(mine & theirs) >= min(len(mine), len(theirs)) > 0

    return [
        column
        for i, column in enumerate(columns)
        if several
        and len(words[i]) == len(column.present())
        and any(shares(words[i], other) for j, other in enumerate(words) if j != i)
    ]


def _is_count(column: Column) -> bool:
    """Whether cells are few whole numbers from 0 on."""
    cells = column.present()
    if len(cells) > MOST_COUNTS or is_metadata(column.name):
        return False
    numbers = [number(cell) for cell in cells]
    return 0.0 in numbers and all(n is not None and n >= 0 and n == int(n) for n in numbers)


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


def _stray_cells(strays: Sequence[Column], wrong: Wrong, row_name: Callable[[int], str]) -> LabelwiseError:
    column = strays[0]
    cell = _cells(column, wrong)[0]
    texts = listed(dict.fromkeys(text_of(c) for s in strays for c in _cells(s, wrong)))
    more = f" and other cells of {_names(strays)}" if len(strays) > 1 or len(wrong[column.name]) > 1 else ""
    return LabelwiseError(
        f"{_first(column, wrong, row_name)}, column {column.name!r}: {shown([cell])}{more}",
        "1, 0, blank (unknown) or a share in between",
        f"correct the cell, or read such cells as unknown with ?unknown={texts}",
    )


def _minus_unclear(bad: Sequence[Column], wrong: Wrong) -> bool:
    return all(number(cell) == -1 for column in bad for cell in _cells(column, wrong))


def _pair(bad: Sequence[Column], wrong: Wrong, columns: Sequence[Column]) -> list[Column]:
    """Columns that spell two states by the same two texts, which is how 1 and 2, or two words, are told apart.

    Two words count only where no column holds usual states or where several columns share them: `Sex` alone among
    columns of 0 and 1 is no label of that table.
    """
    sets: dict[frozenset[str], list[Column]] = {}
    for column in bad:
        texts = _two_texts(column, wrong)
        if len(texts) == 2:
            sets.setdefault(texts, []).append(column)
    if not sets:
        return []
    texts, members = max(sets.items(), key=lambda item: len(item[1]))
    numeric = all(number(text) is not None for text in texts)
    clean = [column for column in columns if not len(wrong[column.name]) and column.present()]
    subsets = [c for c in clean if _keys(c) <= texts]
    if len(clean) > len(subsets) or not (numeric or len(members) > 1 or len(columns) == 1):
        return []
    near = [c for c in bad if c not in members and _all_but_few(c, texts)]
    return [*members, *near]


def _two_texts(column: Column, wrong: Wrong) -> frozenset[str]:
    """Texts of a column, without those for unknown where more are left otherwise and not they alone are wrong."""
    texts = frozenset(_keys(column))
    odd = {column.keys[place] for place in wrong[column.name].tolist()}
    return texts - _DOUBTS if len(texts) > 2 and not odd <= _DOUBTS else texts


def _keys(column: Column) -> set[str]:
    """Texts of the cells that are not blank, alike where cells are."""
    return {column.keys[place] for place in np.flatnonzero(column.filled).tolist()}


def _texts(column: Column) -> dict[str, str]:
    """The last text of each of `_keys` as it is written."""
    return {
        column.keys[place]: text_of(column.cells[place]) for place in np.flatnonzero(column.filled).tolist()
    }


def _all_but_few(column: Column, texts: frozenset[str]) -> bool:
    """Whether a column holds the two texts, or one, and 0, which many tools write for a question not answered."""
    keys = _keys(column)
    return bool(keys & texts) and keys - texts <= {"0", *_DOUBTS}


def _pair_advice(pair: Sequence[Column], strays: Sequence[Column], wrong: Wrong, ignore: str) -> str:
    two = _two_texts(pair[0], wrong)
    texts = {key: text for key, text in _texts(pair[0]).items() if key in two}
    numeric = all(number(text) is not None for text in texts.values())
    low, high = sorted(
        texts.values(),
        key=lambda text: (number(text) or 0.0, not text.casefold().startswith(_DENIALS), text),
    )
    rest = {key: text for c in (*pair, *strays) for key, text in _texts(c).items() if key not in texts}
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
        for place in np.flatnonzero(column.filled).tolist():
            if column.keys[place] in total:
                total[column.keys[place]] += int(column.counts[place])
    ways = [
        f"?absent=1&present=2&unknown=0{tail} if 1 means absent, 2 present and 0 not answered",
        f"?unknown=2{tail} if 2 means unknown",
    ]
    first, second = ways if total["0"] <= total["2"] else reversed(ways)
    return f"add {first}, else {second}"


def _is_stray(column: Column, wrong: Wrong, stated: bool) -> bool:
    """Whether the wrong cells are few beside usual states, or a single text beside both 0 and 1 or stated ones."""
    known = column.filled.copy()
    known[wrong[column.name]] = False
    cells = _cells(column, wrong)
    rows, total = int(column.counts[wrong[column.name]].sum()), int(column.counts[column.filled].sum())
    both = stated or {number(column.cells[i]) for i in np.flatnonzero(known).tolist()} >= {0.0, 1.0}
    texts = [number(cell) is None or stated for cell in cells]
    few = rows <= max(1, STRAY * total)
    return bool(known.any()) and ((few and len(cells) <= 5) or (both and len(cells) == 1 and all(texts)))


def _is_words(column: Column) -> bool:
    cells = column.present()
    rows = int(column.counts[column.filled].sum())
    few = 2 <= len(cells) <= MOST_WORDS and rows >= 2 * len(cells)
    return few and all(number(c) is None and isinstance(c, str) and len(c) <= 40 for c in cells)


def _is_mark(text: str) -> bool:
    return len(text) == 1 or text.casefold() in ("yes", "true", "ja", "oui", "si", "ok", "checked")


def _looks_free(name: str) -> bool:
    return name.casefold() in ("note", "notes", "comment", "comments", "remark", "remarks", "description")


def _names(columns: Sequence[Column]) -> str:
    return few([column.name for column in columns])


def _cells(column: Column, wrong: Wrong) -> list[Any]:
    """The distinct cells of a column that are no states."""
    return [column.cells[place] for place in wrong[column.name].tolist()]


def _first(column: Column, wrong: Wrong, row_name: Callable[[int], str]) -> str:
    rows = np.flatnonzero(np.isin(column.codes, wrong[column.name]))
    return row_name(int(rows[0])) if len(rows) else "no row"
