"""Lists of label names that a tool wrote as the text of a cell."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from labelwise.errors import LabelwiseError

LONGEST = 100_000  # characters of a list written as text
_TYPED = re.compile(r"(?:frozenset|set|array|tensor|list|tuple)\((.*?)(?:,\s*dtype=[^()\[\]]*)?\)", re.DOTALL)
"""A list with the name of its type, as Python writes empty sets or arrays."""
_STATES = {"0": 0, "1": 1, "False": 0, "True": 1}
HOT = "from lists of 0 and 1, so that labels are named by their place"


def is_list_text(text: str) -> bool:
    """Whether a cell's text is a list.

    >>> is_list_text("['cat']"), is_list_text("set()"), is_list_text("cat (big)")
    (True, True, False)
    """
    unwrapped = _unwrapped(text)
    return unwrapped[:1] in tuple("[{(") or unwrapped != text


def _unwrapped(text: str) -> str:
    """The list inside a JSON text, or inside Python's name of its type; else the text."""
    if text[:2] in ('"[', '"{') and len(text) <= LONGEST:
        try:
            text = str(json.loads(text))
        except ValueError:
            return text
    match = _TYPED.fullmatch(text)
    return text if match is None else match[1] or "[]"


def list_of(text: str, name: str, where: Callable[[int], str], place: int) -> list[str]:
    """The names of a cell that holds a list as text, or one name.

    Raises:
        LabelwiseError: a text that starts as a list but is not a list of names.
    """
    text = _unwrapped(text)
    if not is_list_text(text):
        return [text] if text else []
    value = _literal(text)
    if isinstance(value, Mapping) and isinstance(value.get("choices"), list | str):
        value = value["choices"] if isinstance(value["choices"], list) else [value["choices"]]
    items = list(value) if isinstance(value, list | tuple | set | frozenset) else None
    if items is None or not all(
        isinstance(i, str | int) or (isinstance(i, float) and i.is_integer()) for i in items
    ):
        states = isinstance(value, Mapping) and all(isinstance(v, int | float | None) for v in value.values())
        raise LabelwiseError(
            f"{where(place)}, column {name!r}: {text[:60]!r}",
            'a list of label names such as ["cat", "dog"], or names with a mark between them',
            "write one column per label, or these objects as JSON lines, which jsonl:FILE reads"
            if states
            else "correct the cell, or add ?separator= if it is one name",
        )
    names = [str(int(item) if isinstance(item, float) else item).strip() for item in items]
    return [n for n in (sorted(names) if isinstance(value, set) else names) if n]


def _literal(text: str) -> Any:
    """The value of a text that JSON, Python, NumPy or a database wrote; `None` for other texts."""
    if len(text) > LONGEST:
        return None
    # Python joins strings separated by blanks alone, and NumPy writes lists in that form.
    numpy = re.search(r"""['"]\s+['"]""", text)
    for parse in (json.loads,) if numpy else (json.loads, ast.literal_eval):
        try:
            return parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    match = re.fullmatch(r"\[([^\[\]{}()]*)\]", text, re.DOTALL)
    if match is None:
        return None
    if quoted := re.findall(r"'([^']*)'|\"([^\"]*)\"", match[1]):
        between = re.sub(r"'[^']*'|\"[^\"]*\"", "", match[1])
        return [a or b for a, b in quoted] if not between.strip(" ,\n") else None
    parts = match[1].split()
    if all(re.fullmatch(r"\d+", part) for part in parts):
        return [int(part) for part in parts]
    if all(re.fullmatch(r"-?\d+\.?\d*(e[+-]?\d+)?", part) for part in parts):
        return [float(part) for part in parts]
    if all(part in ("True", "False") for part in parts):
        return [part == "True" for part in parts]
    return [part.strip() for part in match[1].split(",")]


def whole_numbers(texts: list[str]) -> list[str]:
    """Texts without the `.0` that pandas adds to label numbers beside blank cells, if every text has it.

    >>> whole_numbers(["1.0", "", "12.0"]), whole_numbers(["1.0", "1.5"])
    (['1', '', '12'], ['1.0', '1.5'])
    """
    are_whole = all(re.fullmatch(r"\d+\.0", text) for text in texts if text)
    return [text.removesuffix(".0") for text in texts] if are_whole else texts


def hot_rows(cells: Sequence[Sequence[str]], name: str) -> tuple[list[list[str]], tuple[str, ...]] | None:
    """Numbers of the present labels in rows of 0 and 1, or of true and false; `None` for other rows.

    Args:
        cells: `[N]` lists; an empty one is unknown.
        name: of the column.

    Returns:
        the label numbers of each row, and those of all labels.

    Raises:
        LabelwiseError: as `is_multi_hot`.

    >>> hot_rows([["0", "1", "0"], [], ["1", "1", "0"]], "labels")
    ([['1'], [], ['0', '1']], ('0', '1', '2'))
    """
    if not any(cells) or not all(part in _STATES for row in cells for part in row):
        return None
    lists = dict.fromkeys(tuple(_STATES[part] for part in row) for row in cells)
    if not is_multi_hot(list(lists), name, any(part in ("True", "False") for row in cells for part in row)):
        return None
    width = max(map(len, cells))
    rows = [[str(j) for j, part in enumerate(row) if _STATES[part]] for row in cells]
    return rows, tuple(map(str, range(width)))


def is_multi_hot(lists: Sequence[tuple[int, ...]], name: str, sure: bool = False) -> bool:
    """Whether lists are rows of 0 and 1 for all labels rather than numbers of labels.

    Args:
        lists: distinct rows; empty ones are ignored.
        name: of the column.
        sure: whether they must be rows of states, such as lists of true and false.

    Raises:
        LabelwiseError: they may be either, or are `sure` and differ in length.
    """
    filled = [part for part in lists if part]
    widths = sorted({len(part) for part in filled})
    if sure and len(widths) > 1:
        raise LabelwiseError(
            f"column {name!r} with lists of true and false of {widths[0]} and of {widths[-1]}",
            "one state for each label in every list",
            "correct the rows, or write label names instead",
        )
    if len(widths) != 1 or (widths[0] < 2 and not sure) or not all(n in (0, 1) for p in filled for n in p):
        return False
    if sure or any(len(set(part)) < len(part) for part in filled):
        return True
    raise LabelwiseError(
        f"column {name!r} with lists such as {list(filled[0])}, either numbers of labels or a 0 or 1 for each label",
        "lists of one meaning",
        "write label names instead",
    )
